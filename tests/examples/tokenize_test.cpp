#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/token_file.hpp>
#include <exfusion/data/tokenizer_file.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;
using testing::run_program;
using Ids = std::vector<std::int32_t>;

Ids read(const std::filesystem::path& path) {
  const data::TokenFile file(path);
  return {file.tokens().begin(), file.tokens().end()};
}

struct Desk {
  testing::TemporaryFolder folder;
  std::string text;

  Desk() {
    for (int i = 0; i < 200; ++i) text += "line " + std::to_string(i) + " of a text that repeats itself\n";
    folder.file("text.txt", text);
    folder.file("other.txt", "another text, which is short");
  }
  ProgramResult run(const std::vector<std::string>& arguments) const {
    return run_program(folder.path(), "tokenize", arguments);
  }
};

TEST(Tokenize, WritesWhatTrainingReads) {
  const Desk desk;
  const ProgramResult result =
      desk.run({"text.txt", "other.txt", "--tokenizer", "bpe:300", "--out", "data", "--format", "llmc"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const data::Tokenizer tokenizer = data::load_tokenizer(desk.folder / "data");
  EXPECT_EQ(tokenizer.vocab_size(), 300);
  Ids all = read(desk.folder / "data/train.bin");
  const Ids validation = read(desk.folder / "data/val.bin");
  EXPECT_NEAR(static_cast<double>(validation.size()) / static_cast<double>(all.size()), 0.1, 0.05);
  all.insert(all.end(), validation.begin(), validation.end());
  Ids expected = tokenizer.encode(desk.text);
  expected.push_back(299);
  for (const std::int32_t token : tokenizer.encode("another text, which is short")) expected.push_back(token);
  expected.push_back(299);
  EXPECT_EQ(all, expected);
  const ProgramResult trained =
      run_program(desk.folder.path(), "train_gpt",
                  {"--data", "data", "--tokenizer", "data", "--steps", "2", "--layers", "1", "--heads", "1",
                   "--d-model", "8", "--context", "16", "--batch", "2", "--out", "run"});
  EXPECT_EQ(trained.exit_code, 0) << trained.error;
  EXPECT_EQ(data::load_tokenizer(desk.folder / "run"), tokenizer);
  EXPECT_NE(run_program(desk.folder.path(), "train_gpt", {"--data", "data"}).error.find("--tokenizer"),
            std::string::npos);
  // The tokenizer of a folder gives the same files.
  ASSERT_EQ(desk.run({"text.txt", "other.txt", "--tokenizer", "data", "--out", "again"}).exit_code, 0);
  EXPECT_EQ(read(desk.folder / "again/val.bin"), validation);
}

TEST(Tokenize, RefusesWhatItCannotDo) {
  const Desk desk;
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"absent.txt", "--tokenizer", "bpe:300", "--out", "data"}, "absent.txt"},
      {{"text.txt", "--tokenizer", "bpe:30", "--out", "data"}, "257"},
      {{"text.txt", "--tokenizer", "bpe:many", "--out", "data"}, "bpe:many"},
      {{"text.txt", "--tokenizer", "absent", "--out", "data"}, "absent"},
      {{"text.txt", "--tokenizer", "bpe:300", "--out", "data", "--validation", "1"}, "--validation"},
      {{"text.txt", "--tokenizer", "bpe:300", "--out", "text.txt"}, "text.txt"},
      {{"--tokenizer", "bpe:300", "--out", "data"}, "files"}};
  for (const auto& [arguments, word] : cases) {
    const ProgramResult result = desk.run(arguments);
    EXPECT_NE(result.exit_code, 0) << word;
    EXPECT_NE(result.error.find(word), std::string::npos) << result.error;
    EXPECT_FALSE(std::filesystem::exists(desk.folder / "data")) << word;
  }
}

}  // namespace
}  // namespace exfusion
