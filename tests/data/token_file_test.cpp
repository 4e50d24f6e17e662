#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/text_loader.hpp>
#include <exfusion/data/text_parts.hpp>
#include <exfusion/data/token_dataset.hpp>

#include "data_support.hpp"

namespace exfusion::data {
namespace {

using Ids = std::vector<std::int32_t>;

Index write(const std::filesystem::path& path, TokenFileFormat format, const Ids& tokens) {
  return write_token_file(path, format, [&](const auto& append) {
    const auto half = tokens.size() / 2;
    append(std::span(tokens).first(half));
    append(std::span(tokens).subspan(half));
  });
}

Ids read(const std::filesystem::path& path) {
  const TokenFile file(path);
  return {file.tokens().begin(), file.tokens().end()};
}

std::string numbers(std::vector<std::int32_t> values, std::size_t bytes) {
  std::string text(bytes, '\0');
  std::memcpy(text.data(), values.data(), values.size() * sizeof(std::int32_t));
  return text;
}

TEST(TokenFile, GivesBackWhatWasWritten) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens.bin";
  for (const TokenFileFormat format : {TokenFileFormat::nanogpt, TokenFileFormat::llmc}) {
    for (const Ids& tokens : {Ids{}, Ids{7}, Ids{0, 1, 65535, 50256, 3}}) {
      EXPECT_EQ(write(path, format, tokens), std::ssize(tokens));
      EXPECT_EQ(read(path), tokens);
      EXPECT_EQ(TokenFile(path).format(), format);
      EXPECT_EQ(std::filesystem::file_size(path),
                2 * tokens.size() + (format == TokenFileFormat::llmc ? 1024 : 0));
    }
  }
}

TEST(TokenFile, HasTheLayoutOfItsKind) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens.bin";
  write(path, TokenFileFormat::nanogpt, {258, 3});
  EXPECT_EQ(read_file(path), std::string("\2\1\3\0", 4));
  write(path, TokenFileFormat::llmc, {258, 3});
  EXPECT_EQ(read_file(path), numbers({20240520, 1, 2}, 1024) + std::string("\2\1\3\0", 4));
}

TEST(TokenFile, RefusesWhatIsDamaged) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& content) {
    const auto path = folder.write("tokens.bin", content);
    return message_of<FormatError>([&] { TokenFile{path}; }).substr(path.string().size() + 3);
  };
  EXPECT_EQ(error("abc"), "has 3 bytes: tokens have two each");
  EXPECT_EQ(error(numbers({20240520, 1, 0}, 12)), "ends within its header");
  EXPECT_EQ(error(numbers({20240520, 7, 1}, 1026)),
            "has version 7 of llm.c's token files: only 1 is supported");
  EXPECT_EQ(error(numbers({20240520, 1, 2}, 1026)), "says that it has 2 tokens: it has 1");
  EXPECT_EQ(error(numbers({20240520, 1, -1}, 1026)), "says that it has -1 tokens: it has 1");
  EXPECT_THROW(TokenFile(folder.path() / "absent"), IoError);
  EXPECT_THROW(TokenFile(folder.path()), IoError);
}

TEST(TokenFile, IsWrittenWholeOrNotAtAll) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "tokens.bin";
  write(path, TokenFileFormat::nanogpt, {1, 2, 3});
  for (const std::int32_t wrong : {-1, 65536}) {
    EXPECT_EQ(message_of<ConfigError>([&] {
                write(path, TokenFileFormat::nanogpt, {4, 5, wrong});
              }),
              "[token_file] token " + std::to_string(wrong) + " does not fit into 16 bits");
    EXPECT_EQ(read(path), (Ids{1, 2, 3}));
  }
}

TEST(TokenDataset, TrainsOnFilesAsOnMemory) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = CharTokenizer::from_text("abcdefg");
  const Ids train{0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2}, validation{3, 4, 5, 6};
  write(folder.path() / "train.bin", TokenFileFormat::nanogpt, train);
  write(folder.path() / "val.bin", TokenFileFormat::llmc, validation);
  const auto dataset = TokenDataset::from_folder(folder.path(), tokenizer, 3);
  const TextLoaderOptions options{.batch = 2, .context = 3, .seed = 5};
  TextLoader from_file(dataset.train, options), from_memory(train, options);
  for (int i = 0; i < 9; ++i) {
    const TextBatch &a = from_file.next(), &b = from_memory.next();
    for (Index j = 0; j < 6; ++j) {
      EXPECT_EQ(a.tokens.data()[j], b.tokens.data()[j]);
      EXPECT_EQ(a.targets.data()[j], b.targets.data()[j]);
    }
  }
  EXPECT_EQ(dataset.validation[3], 6);
  EXPECT_NE(message_of<FormatError>([&] {
              TokenDataset::from_folder(folder.path(), tokenizer, 4);
            }).find("val.bin] is too short: it has 4 tokens, and a context of 4 needs at least 5"),
            std::string::npos);
  EXPECT_NE(message_of<FormatError>([&] {
              TokenDataset::from_folder(folder.path(), CharTokenizer::from_text("abcdef"), 3);
            }).find("train.bin] token 6 is 6: the vocabulary has 6"),
            std::string::npos);
}

TEST(TextParts, AreTheWholeAndCutBetweenWords) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 500; ++i)
    text += (i % 7 == 0 ? "\n\n" : " ") + std::string("w\u00f6rd") + std::to_string(i * i);
  const auto path = folder.write("text", text);
  std::vector<std::string> whole, parted;
  for_each_gpt2_word(text, [&](std::string_view word) { whole.emplace_back(word); });
  for (const std::size_t block : {1U, 7U, 64U, 1000U, 100000U}) {
    std::string joined;
    parted.clear();
    for_each_text_part(
        path,
        [&](std::string_view part) {
          joined += part;
          for_each_gpt2_word(part, [&](std::string_view word) { parted.emplace_back(word); });
        },
        block);
    EXPECT_EQ(joined, text);
    EXPECT_EQ(parted, whole) << block;
  }
  EXPECT_THROW(for_each_text_part(folder.path() / "absent", [](std::string_view) {}), IoError);
}

}  // namespace
}  // namespace exfusion::data
