#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/data/bpe_trainer.hpp>
#include <exfusion/data/tokenizer_file.hpp>

#include "data_support.hpp"

namespace exfusion::data {
namespace {

using Ids = std::vector<std::int32_t>;

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for_each_gpt2_word(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

/// What Hugging Face's tokenizers and tiktoken computed (scripts/make_bpe_fixtures.py).
const nlohmann::json& fixture() {
  static const auto json =
      nlohmann::json::parse(std::ifstream(std::string(EXFUSION_SOURCE_DIR) + "/tests/fixtures/bpe.json"));
  return json;
}

const BpeTokenizer& fixture_tokenizer() {
  static const BpeTokenizer tokenizer = parse_tokenizer_json(fixture()["tokenizer"].dump(), "fixture");
  return tokenizer;
}

std::string random_bytes(Rng& rng, std::size_t count) {
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng.below(256));
  return bytes;
}

/// BPE from the bytes alone: repeatedly joins all occurrences of the pair with the lowest rank.
Ids naive_merge(const BpeTokenizer& tokenizer, std::string_view word) {
  Ids ids;
  for (const char byte : word) {
    for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (tokenizer.decode(id) != std::string(1, byte)) continue;
      ids.push_back(id);
      break;
    }
  }
  for (const auto& [left, right, merged] : tokenizer.merges()) {
    Ids joined;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const bool is_pair = i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
      joined.push_back(is_pair ? merged : ids[i]);
      i += is_pair;
    }
    ids = joined;
  }
  return ids;
}

TEST(Gpt2Words, FollowThePattern) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(words_of(""), Words{});
  EXPECT_EQ(words_of("How are you?"), (Words{"How", " are", " you", "?"}));
  EXPECT_EQ(words_of("How\nare"), (Words{"How", "\n", "are"}));
  EXPECT_EQ(words_of("it's we'll they've I'd I'm you're can't '"),
            (Words{"it", "'s", " we", "'ll", " they", "'ve", " I", "'d", " I", "'m", " you", "'re", " can",
                   "'t", " '"}));
  EXPECT_EQ(words_of("IT'S 'x"), (Words{"IT", "'", "S", " '", "x"}));
  EXPECT_EQ(words_of("a   b"), (Words{"a", "  ", " b"}));
  EXPECT_EQ(words_of("a \n b"), (Words{"a", " \n", " b"}));
  EXPECT_EQ(words_of("a\t\tb"), (Words{"a", "\t", "\t", "b"}));
  EXPECT_EQ(words_of("end  "), (Words{"end", "  "}));
  EXPECT_EQ(words_of("abc123 45!? x"), (Words{"abc", "123", " 45", "!?", " x"}));
  EXPECT_EQ(words_of("\u00e9t\u00e9 \u0663\u00bd \u4e2d\u00a0x\u2009\u2009y"),
            (Words{"\u00e9t\u00e9", " \u0663\u00bd", " \u4e2d", "\u00a0", "x", "\u2009", "\u2009", "y"}));
  EXPECT_EQ(words_of("a\xff\xc3!b"), (Words{"a", "\xff\xc3!", "b"}));
}

TEST(Gpt2Words, OfPartsAreThoseOfTheWhole) {
  Rng rng(5);
  const std::vector<std::string> pieces{" ",  "\n",  "\t",         "\u00a0", "\u2003", "a",
                                        "B7", "'s",  "'",          "..",     "\u00e9", "\xff",
                                        "  ", "'ll", "\U0001F600", "\u3000"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (Index i = rng.below(12); i >= 0; --i) text += pieces[static_cast<std::size_t>(rng.below(16))];
    const std::size_t cut = last_gpt2_cut(text);
    auto words = words_of(text.substr(0, cut));
    for (const auto& word : words_of(text.substr(cut))) words.push_back(word);
    ASSERT_EQ(words, words_of(text)) << nlohmann::json(text).dump(-1, ' ', true,
                                                                  nlohmann::json::error_handler_t::replace)
                                     << cut;
  }
  EXPECT_EQ(last_gpt2_cut("two words "), 9U);
  EXPECT_EQ(last_gpt2_cut("two words\n\n"), 9U);
  EXPECT_EQ(last_gpt2_cut("\u4e2d\nx"), 3U);
  EXPECT_EQ(last_gpt2_cut("one"), 0U);
  EXPECT_EQ(last_gpt2_cut("   "), 0U);
}

TEST(Bpe, MatchesOtherTokenizers) {
  ASSERT_GE(fixture()["cases"].size(), 200U);
  for (const auto& [text, ids] : fixture()["cases"].get<std::vector<std::pair<std::string, Ids>>>()) {
    EXPECT_EQ(fixture_tokenizer().encode(text), ids) << text;
    EXPECT_EQ(fixture_tokenizer().decode(ids), text);
  }
}

TEST(Bpe, MergesAsTheNaiveWay) {
  Rng rng(3);
  for (int round = 0; round < 300; ++round) {
    // Words of one class, so that each is one: few letters, for many merges.
    std::string word;
    for (Index i = rng.below(round < 280 ? 40 : 400); i >= 0; --i) word += "etaonhs"[rng.below(7)];
    ASSERT_EQ(fixture_tokenizer().encode(word), naive_merge(fixture_tokenizer(), word)) << word;
  }
}

TEST(Bpe, DecodingIsTheInverseForAnyBytes) {
  Rng rng(4);
  BpeEncoder encoder(fixture_tokenizer());
  for (int round = 0; round < 1000; ++round) {  // the encoder begins to remember on the way
    const std::string bytes = random_bytes(rng, static_cast<std::size_t>(rng.below(200)));
    Ids ids;
    encoder.encode(bytes, ids);
    ASSERT_EQ(fixture_tokenizer().decode(ids), bytes);
    ASSERT_EQ(fixture_tokenizer().encode(bytes), ids);  // whatever the encoder remembers
  }
  const std::string one_word(100'000, 'a');
  EXPECT_EQ(fixture_tokenizer().decode(fixture_tokenizer().encode(one_word)), one_word);
}

TEST(Bpe, RefusesTablesThatDoNotFit) {
  const auto bytes = [] {
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
    return tokens;
  };
  auto tokens = bytes();
  tokens.pop_back();
  EXPECT_EQ(message_of<ConfigError>([&] { BpeTokenizer(tokens, {}); }),
            "[bpe] the vocabulary has no token for byte 255");
  tokens = bytes();
  EXPECT_EQ(message_of<ConfigError>([&] {
              BpeTokenizer(tokens, {{97, 98, 256}});
            }),
            "[bpe] merge 0 names token 256 of a vocabulary of 256");
  tokens.emplace_back("xy");
  EXPECT_EQ(message_of<ConfigError>([&] {
              BpeTokenizer(tokens, {{97, 98, 256}});
            }),
            "[bpe] token 256 is not what merge 0 joins");
  EXPECT_EQ(message_of<ShapeError>([&] {
              BpeTokenizer(tokens, {{120, 121, 256}}).decode(257);
            }),
            "[bpe] token 257 is not in the vocabulary of 257");
  EXPECT_THROW(BpeEncoder(BpeTokenizer{}), ConfigError);
}

TEST(BpeTrainer, LearnsWhatOtherTrainersLearn) {
  const auto& learned = fixture()["learned"];
  BpeTrainer trainer;
  const auto text = learned["text"].get<std::string>();
  const std::size_t cut = last_gpt2_cut(std::string_view(text).substr(0, text.size() / 2));
  ASSERT_GT(cut, 0U);
  trainer.add(std::string_view(text).substr(0, cut));
  trainer.add(std::string_view(text).substr(cut));
  const BpeTokenizer tokenizer = trainer.train(learned["vocab_size"].get<Index>());
  const auto merges = learned["merges"].get<std::vector<std::pair<std::string, std::string>>>();
  ASSERT_EQ(tokenizer.merges().size(), merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    EXPECT_EQ(detail::visible_bytes(tokenizer.decode(tokenizer.merges()[i].left)), merges[i].first) << i;
    EXPECT_EQ(detail::visible_bytes(tokenizer.decode(tokenizer.merges()[i].right)), merges[i].second) << i;
  }
  EXPECT_EQ(tokenizer.vocab_size(), learned["vocab_size"].get<Index>());
  EXPECT_EQ(tokenizer.end_of_text(), tokenizer.vocab_size() - 1);
}

TEST(BpeTrainer, StopsWhenNothingOccursTwice) {
  BpeTrainer trainer;
  trainer.add("ab ab");
  const BpeTokenizer tokenizer = trainer.train(1000);
  EXPECT_EQ(tokenizer.merges().size(), 1U);
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(trainer.train(257).merges().size(), 0U);
  EXPECT_EQ(message_of<ConfigError>([&] { trainer.train(256); }),
            "[bpe] a vocabulary of 256 tokens: at least 257 are needed, the bytes and the end of a text");
}

TEST(BpeFile, SurvivesTokenizerJson) {
  const TemporaryFolder folder;
  const Tokenizer tokenizer = fixture_tokenizer();
  save_tokenizer(tokenizer, folder.path());
  EXPECT_EQ(load_tokenizer(folder.path()), tokenizer);
  EXPECT_EQ(tokenizer_from_state(nlohmann::json::parse(tokenizer_state(tokenizer).dump()), "state"),
            tokenizer);
  const TemporaryFolder other;
  const Tokenizer characters = CharTokenizer::from_text("abc\u00e9");
  save_tokenizer(characters, other.path());
  EXPECT_EQ(load_tokenizer(other.path()), characters);
  EXPECT_EQ(tokenizer_from_state(tokenizer_state(characters), "state"), characters);
}

// The second name's characters would mean other bytes, the third's none, in a token that is not special.
TEST(BpeFile, SpecialTokensStandForTheirOwnCharacters) {
  for (const std::string name : {"<|end|>", "<|\u00f7|>", "<|\u6587 \U0001f600|>"}) {
    nlohmann::json json = fixture()["tokenizer"];
    const auto id = static_cast<std::int32_t>(fixture_tokenizer().vocab_size());
    json["added_tokens"].push_back({{"id", id}, {"content", name}});
    const auto added = parse_tokenizer_json(json.dump(), "added");
    EXPECT_EQ(added.decode(id), name);
    EXPECT_EQ(added.special().at(name), id);
    EXPECT_EQ(parse_tokenizer_json(tokenizer_json(added), "written"), added);
    json["model"]["vocab"][name] = id;
    EXPECT_EQ(parse_tokenizer_json(json.dump(), "in the vocabulary, too"), added);
    json["model"]["vocab"][name] = id + 1;
    EXPECT_EQ(message_of<FormatError>([&] { parse_tokenizer_json(json.dump(), "file"); }),
              "[file] gives \"" + name + "\" two ids");
  }
}

TEST(BpeFile, RefusesMergesOfSpecialTokens) {
  nlohmann::json json = fixture()["tokenizer"];
  json["added_tokens"].push_back({{"id", fixture_tokenizer().vocab_size()}, {"content", "\u00f7"}});
  json["model"]["vocab"].erase("\u00f7");
  json["model"]["merges"].insert(json["model"]["merges"].begin(), nlohmann::json{"a", "\u00f7"});
  EXPECT_EQ(message_of<FormatError>([&] { parse_tokenizer_json(json.dump(), "file"); }),
            "[file] merge 0 needs \"\u00f7\", which is a special token");
}

TEST(BpeFile, ReadsVocabularyAndMerges) {
  const TemporaryFolder folder;
  const auto& model = fixture()["tokenizer"]["model"];
  std::string merges = "#version: 0.2\r\n";
  for (const auto& merge : model["merges"]) merges += merge.get<std::string>() + "\r\n";
  auto vocab = model["vocab"];
  folder.write("vocab.json", vocab.dump());
  folder.write("merges.txt", merges);
  const Tokenizer tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(std::get<BpeTokenizer>(tokenizer.kind()).merges(), fixture_tokenizer().merges());
  folder.write("merges.txt", "a b c\n");
  EXPECT_NE(message_of<FormatError>([&] { load_tokenizer(folder.path()); }).find("two tokens are needed"),
            std::string::npos);
  folder.write("merges.txt", "qq zz\n");
  EXPECT_NE(message_of<FormatError>([&] { load_tokenizer(folder.path()); }).find("merge 0 needs \"qq\""),
            std::string::npos);
}

TEST(BpeFile, RefusesWhatIsNotByteLevelBpe) {
  const auto error = [&](const std::function<void(nlohmann::json&)>& change) {
    nlohmann::json json = fixture()["tokenizer"];
    change(json);
    return message_of<Error>([&] { parse_tokenizer_json(json.dump(), "file"); });
  };
  const auto model = [&](const char* key, const nlohmann::json& value) {
    return error([&](auto& json) { json["model"][key] = value; });
  };
  EXPECT_EQ(model("type", "Unigram"), "[file] type is \"Unigram\": only \"BPE\" is supported");
  EXPECT_EQ(model("dropout", 0.1), "[file] dropout is 0.1: only null is supported");
  EXPECT_EQ(model("byte_fallback", true), "[file] byte_fallback is true: only false is supported");
  EXPECT_EQ(model("vocab", {{"a", 7}}).substr(0, 20), "[file] merge 0 needs");
  EXPECT_EQ(model("vocab", {{"a", -1}}), "[file] gives \"a\" the id -1");
  EXPECT_EQ(model("vocab", {{"a", 1.5}}), "[file] gives \"a\" the id 1.5");
  EXPECT_EQ(model("vocab", {{"a", 1}, {"b", 1}}), "[file] has the token \"b\" or its id 1 twice");
  EXPECT_EQ(model("vocab", {{"a b", 1}}), "[file] has the token \"a b\", whose characters mean no bytes");
  EXPECT_EQ(model("merges", {1}), "[file] has a merge that is not two tokens");
  EXPECT_EQ(error([](auto& json) {
              json["normalizer"] = {{"type", "NFC"}};
            }),
            "[file] normalizer is {\"type\":\"NFC\"}: only null is supported");
  EXPECT_EQ(error([](auto& json) { json["pre_tokenizer"]["add_prefix_space"] = true; }),
            "[file] add_prefix_space is true: only false is supported");
  EXPECT_EQ(error([](auto& json) { json.erase("pre_tokenizer"); }),
            "[file] pre_tokenizer is missing: only ByteLevel is supported");
  EXPECT_EQ(error([](auto& json) { json.erase("model"); }), "[file] model is missing");
}

TEST(BpeFile, GivesTheTokensOfGpt2) {
  const auto folder = real_data("gpt2_bpe");
  if (!folder) GTEST_SKIP() << "gpt2_bpe is not there: set EXFUSION_DATA_DIR";
  const Tokenizer tokenizer = load_tokenizer(*folder);
  EXPECT_EQ(tokenizer.vocab_size(), 50257);
  EXPECT_EQ(tokenizer.end_of_text(), 50256);
  EXPECT_EQ(tokenizer.encode("How are"), (Ids{2437, 389}));
  EXPECT_EQ(tokenizer.encode("unbelievable!"), (Ids{403, 6667, 11203, 540, 0}));
  EXPECT_EQ(tokenizer.encode("How\nare"), (Ids{2437, 198, 533}));
}

}  // namespace
}  // namespace exfusion::data
