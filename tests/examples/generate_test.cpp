#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/data/bpe_trainer.hpp>
#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;

constexpr Index tokens = 262, padded_vocabulary = 300;

/// A folder with a model that always finds one token the likeliest by far, then another.
struct Desk {
  testing::TemporaryFolder folder;
  data::Tokenizer tokenizer;

  Desk(const std::string& likeliest, Index second = 0) {
    data::BpeTrainer trainer;
    trainer.add("a text with some words in it, and some words again");
    tokenizer = trainer.train(tokens);
    Rng rng(1);
    const Gpt<float> model(
        {.vocab_size = padded_vocabulary, .context = 8, .layers = 1, .heads = 1, .d_model = 2}, rng);
    std::ranges::fill(model.norm.weight.values(), 0.0F);
    std::ranges::fill(model.norm.bias.values(), 1.0F);
    const auto id = likeliest.empty() ? *tokenizer.end_of_text() : tokenizer.encode(likeliest).front();
    model.wte.values()[static_cast<std::size_t>(2 * id)] = 100;
    if (second > 0) model.wte.values()[static_cast<std::size_t>(2 * second)] = 200;
    io::save_gpt2(model, folder / "model");
    data::save_tokenizer(tokenizer, folder / "model");
  }

  ProgramResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"--model", "model"});
    return testing::run_program(folder.path(), "generate", arguments);
  }
};

TEST(Generate, AddsTokensToThePromptAndSaysHowFast) {
  const Desk desk("w");
  const ProgramResult result = desk.run({"--prompt", "some ", "--tokens", "20"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, "some " + std::string(20, 'w') + "\n");
  EXPECT_NE(result.error.find("20 tokens, "), std::string::npos) << result.error;
  EXPECT_EQ(desk.run({"--prompt", "some ", "--tokens", "2", "--quiet"}).error, "");
}

TEST(Generate, EndsWithTheText) {
  const Desk desk("");
  EXPECT_EQ(desk.run({"--prompt", "some"}).out, "some\n");
  const ProgramResult on = desk.run({"--prompt", "some", "--tokens", "2", "--ignore-end-of-text"});
  EXPECT_EQ(on.out, "some<|endoftext|><|endoftext|>\n");
}

TEST(Generate, NeverDrawsATokenThatTheTokenizerDoesNotKnow) {
  const Desk desk("w", padded_vocabulary - 1);
  const ProgramResult result = desk.run({"--prompt", "some ", "--tokens", "3"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, "some www\n");
}

TEST(Generate, ReadsThePromptFromAFile) {
  const Desk desk("w");
  desk.folder.file("prompt.txt", "with some\nwords ");
  EXPECT_EQ(desk.run({"--prompt-file", "prompt.txt", "--tokens", "1"}).out, "with some\nwords w\n");
  EXPECT_EQ(desk.run({"--prompt-file", "absent.txt"}).exit_code, 2);
  EXPECT_EQ(desk.run({"--prompt-file", "prompt.txt", "--prompt", "a"}).exit_code, 2);
}

TEST(Generate, DrawsTheSameForTheSameSeed) {
  const Desk desk("w");
  const std::vector<std::string> hot{"--prompt", "a", "--temperature", "1000", "--tokens", "30", "--seed"};
  const auto with_seed = [&](const std::string& seed) {
    auto arguments = hot;
    arguments.push_back(seed);
    return desk.run(arguments).out;
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST(Generate, RefusesBadInputNamingIt) {
  const Desk desk("w");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"--model", "absent"}, "absent"},  {{"--prompt", ""}, "empty"},      {{"--temperature", "-1"}, "-1"},
      {{"--top-k", "-3"}, "top_k is -3"}, {{"--top-p", "0"}, "top_p is 0"}, {{"--tokens", "-5"}, "-5"},
      {{"--prompt-file", "none"}, "none"}};
  for (const auto& [arguments, word] : cases) {
    const ProgramResult result = desk.run(arguments);
    EXPECT_EQ(result.exit_code, 2) << word;
    EXPECT_NE(result.error.find(word), std::string::npos) << result.error;
  }
  EXPECT_EQ(testing::run_program(desk.folder.path(), "generate", {}).exit_code, 2);
  desk.folder.file("model/model.safetensors", "damaged");
  EXPECT_EQ(desk.run({"--prompt", "a"}).exit_code, 2);
}

}  // namespace
}  // namespace exfusion
