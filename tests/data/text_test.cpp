#include <array>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/data/builtin_text.hpp>
#include <exfusion/data/text.hpp>
#include <exfusion/data/vocabulary_file.hpp>

#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

using Tokens = std::vector<std::int32_t>;

TEST(CharTokenizer, NumbersCharactersInCodePointOrderAndRoundTrips) {
  const std::string text =
      "b\xC3\xA9"  // U+00E9
      "a\xE2\x82\xAC\xF0\x9F\x98\x80"
      "ab\n";  // U+20AC, U+1F600
  const auto tokenizer = CharTokenizer::from_text(text);
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_EQ(tokenizer.characters(), (std::vector<char32_t>{'\n', 'a', 'b', 0xE9, 0x20AC, 0x1F600}));
  const Tokens tokens = tokenizer.encode(text);
  EXPECT_EQ(tokens, (Tokens{2, 3, 1, 4, 5, 1, 2, 0}));
  EXPECT_EQ(tokenizer.decode(tokens), text);
  EXPECT_EQ(tokenizer.decode(3), "\xC3\xA9");
}

TEST(CharTokenizer, RoundTripsTheFirstAndLastCharacterOfEveryEncodedLength) {
  const std::vector<char32_t> characters{0x0,    0x7F,   0x80,   0x7FF,   0x800,
                                         0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF};
  const CharTokenizer tokenizer(characters);
  const Tokens tokens{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::string text = tokenizer.decode(tokens);
  EXPECT_EQ(text.size(), 2U * 1 + 2 * 2 + 4 * 3 + 2 * 4);
  EXPECT_EQ(tokenizer.encode(text), tokens);
  EXPECT_EQ(CharTokenizer::from_text(text), tokenizer);
}

TEST(CharTokenizer, NamesTheByteWhereTextStopsBeingUtf8) {
  const std::array<std::string, 12> broken{
      "\xFF",         "\x80",     "\xC3",         "\xC3(",        "\xE2\x82",         "\xE2(\x82",
      "\xF0\x9F\x98", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80"};
  for (const std::string& bytes : broken) {
    const auto message =
        message_of<FormatError>([&] { CharTokenizer::from_text("abc" + bytes, "book.txt"); });
    EXPECT_EQ(message, "[book.txt] is not UTF-8 text: no valid character begins at byte 3");
  }
}

TEST(CharTokenizer, NamesUnknownCharactersAndTokens) {
  const auto tokenizer = CharTokenizer::from_text("abc");
  EXPECT_EQ(
      message_of<Error>([&] { tokenizer.encode("ab\xC3\xA9"); }),
      "[char_tokenizer] the character '\xC3\xA9' (U+00E9) at byte 2 is not among the 3 of the vocabulary");
  EXPECT_CONTAINS(message_of<Error>([&] { tokenizer.encode("\n"); }), "the character (U+000A) at byte 0");
  EXPECT_EQ(message_of<Error>([&] {
              tokenizer.decode(Tokens{0, 3});
            }),
            "[char_tokenizer] token 3 is outside the vocabulary of 3");
  EXPECT_THROW(tokenizer.decode(-1), Error);
  EXPECT_THROW(CharTokenizer({'a', 'b', 'a'}), ConfigError);
}

TEST(VocabularyFile, LoadsWhatWasSaved) {
  const TemporaryFolder folder;
  const auto tokenizer = CharTokenizer::from_text("\n\"\\/ a\x01\xC3\xA9\xF0\x9F\x98\x80");
  save_vocabulary(tokenizer, folder.path() / "vocab.json");
  EXPECT_EQ(load_vocabulary(folder.path() / "vocab.json"), tokenizer);
  const auto unsorted = folder.write("unsorted.json", R"({"b": 0, "a": 1})");
  EXPECT_EQ(load_vocabulary(unsorted).characters(), (std::vector<char32_t>{'b', 'a'}));
}

TEST(VocabularyFile, RefusesEverythingElse) {
  const TemporaryFolder folder;
  const std::array<std::array<std::string, 2>, 17> broken{{
      {"", "is not valid JSON"},
      {"{\"a\": 0", "is not valid JSON"},
      {"{\"a\": 0} x", "is not valid JSON"},
      {"{\"\xFF\": 0}", "is not valid JSON"},
      {"7", "must be one object"},
      {"[\"a\"]", "must be one object"},
      {"{\"a\": {}}", "without lists or objects"},
      {"{\"a\": [0]}", "without lists or objects"},
      {"{}", "has no tokens"},
      {"{\"a\": 0, \"a\": 1}", "has the token \"a\" twice"},
      {"{\"a\": 0, \"b\": 2}", "ids are 0 to 1"},
      {"{\"a\": -1}", "ids are 0 to 0"},
      {"{\"a\": 0.5}", "ids are 0 to 0"},
      {"{\"a\": \"0\"}", "ids are 0 to 0"},
      {"{\"a\": 0, \"b\": 0}", "the id 0 to more than one"},
      {"{\"ab\": 0}", "every token must be one character"},
      {"{\"\": 0}", "every token must be one character"},
  }};
  for (const auto& [content, expected] : broken) {
    const auto path = folder.write("vocab.json", content);
    const auto message = message_of<FormatError>([&] { load_vocabulary(path); });
    EXPECT_CONTAINS(message, expected);
    EXPECT_CONTAINS(message, path.string());
  }
  EXPECT_THROW(load_vocabulary(folder.path() / "missing.json"), IoError);
}

TEST(VocabularyFile, RefusesAFileCutAtAnyByte) {
  const TemporaryFolder folder;
  save_vocabulary(CharTokenizer::from_text("ab\xC3\xA9\"\n"), folder.path() / "vocab.json");
  const std::string whole = read_file(folder.path() / "vocab.json");
  for (std::size_t size = 0; size < whole.find('}'); ++size) {
    const auto path = folder.write("cut.json", std::string_view(whole).substr(0, size));
    EXPECT_THROW(load_vocabulary(path), FormatError) << size << " bytes";
  }
}

TEST(VocabularyFile, SurvivesDeepNesting) {
  const TemporaryFolder folder;
  EXPECT_THROW(load_vocabulary(folder.write("deep.json", std::string(1'000'000, '['))), FormatError);
}

TEST(TextDataset, KeepsTheLastTenthForValidation) {
  const auto dataset = TextDataset::from_string("abcdefghijklmnopqrst", "alphabet");
  EXPECT_EQ(dataset.tokenizer.decode(dataset.train), "abcdefghijklmnopqr");
  EXPECT_EQ(dataset.tokenizer.decode(dataset.validation), "st");
  const auto half = TextDataset::from_string("aabb", "halves", {.validation_fraction = 0.5});
  EXPECT_EQ(half.train, (Tokens{0, 0}));
  EXPECT_EQ(half.validation, (Tokens{1, 1}));
}

TEST(TextDataset, SaysWhatIsWrongWithAFile) {
  const TemporaryFolder folder;
  const auto load = [&](const std::filesystem::path& path) {
    return [path] { TextDataset::from_file(path, {.context = 8}); };
  };
  EXPECT_CONTAINS(message_of<IoError>(load(folder.path())), "is a folder");
  EXPECT_CONTAINS(message_of<IoError>(load(folder.path() / "no.txt")), "No such file");
  EXPECT_CONTAINS(message_of<FormatError>(load(folder.write("empty.txt", ""))), "empty.txt] is empty");
  EXPECT_CONTAINS(message_of<FormatError>(load(folder.write("binary.txt", "abc\xFE"))), "byte 3");
  EXPECT_CONTAINS(
      message_of<FormatError>(load(folder.write("short.txt", std::string(80, 'x')))),
      "is too short: its 80 characters leave 8 for validation, and a context of 8 needs at least 9");
  EXPECT_NO_THROW(load(folder.write("enough.txt", std::string(90, 'x')))());
  EXPECT_CONTAINS(
      message_of<FormatError>(
          [] { TextDataset::from_string("abcdefghij", "text", {.context = 4, .validation_fraction = 0.9}); }),
      "leave 1 for training");
}

TEST(TextDataset, RefusesImpossibleOptions) {
  EXPECT_THROW(TextDataset::from_string("abc", "text", {.context = 0}), ConfigError);
  for (double fraction : {0.0, 1.0, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(TextDataset::from_string("abc", "text", {.validation_fraction = fraction}), ConfigError);
  }
}

TEST(TextDataset, ReadsTinyShakespeare) {
  const auto path = real_data("tinyshakespeare.txt");
  if (!path) GTEST_SKIP() << "tinyshakespeare.txt is not there: set EXFUSION_DATA_DIR";
  const auto dataset = TextDataset::from_file(*path, {.context = 256});
  EXPECT_EQ(dataset.tokenizer.vocab_size(), 65);
  EXPECT_EQ(dataset.train.size() + dataset.validation.size(), 1'115'394U);
  EXPECT_EQ(dataset.validation.size(), 111'540U);
  EXPECT_EQ(dataset.tokenizer.decode(dataset.train) + dataset.tokenizer.decode(dataset.validation),
            read_file(*path));
}

TEST(BuiltinText, IsPrintableAndLongEnoughToTrainOn) {
  const std::string_view text = builtin_text();
  EXPECT_GT(text.size(), 50'000U);
  EXPECT_CONTAINS(text, "class Tensor");
  EXPECT_CONTAINS(text, "## Shape legend");
  for (char c : text) ASSERT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << "byte " << int{c};
  const auto dataset = TextDataset::from_string(text, "builtin", {.context = 256});
  EXPECT_LE(dataset.tokenizer.vocab_size(), 96);
  EXPECT_GE(dataset.tokenizer.vocab_size(), 80);
}

TEST(BuiltinText, HoldsTheHeadersUnchanged) {
  const std::string header = read_file(EXFUSION_SOURCE_DIR "/include/exfusion/core/rng.hpp");
  EXPECT_CONTAINS(builtin_text(), header);
}

}  // namespace
}  // namespace exfusion::data
