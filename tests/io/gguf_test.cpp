#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/gguf_tokenizer.hpp>

#include "io/model_support.hpp"
#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

GptConfig config_of(Index vocab_size) {
  return {.vocab_size = vocab_size, .context = 3, .layers = 2, .heads = 1, .d_model = 7, .d_ff = 17};
}

Gpt<float> random_gpt(const GptConfig& config) {
  Rng rng(5);
  Gpt<float> model(config, rng);
  testing::randomise<float>(model, rng);
  return model;
}

GgufTokenizer three_tokens() {
  return {.tokens = {"a", "b", "ab"}, .types = {1, 1, 1}, .merges = {"a b"}, .end_of_text = std::nullopt};
}

/// A small file: one key and two tensors.
std::string small_file(const TemporaryFolder& folder) {
  Rng rng(2);
  auto a = Tensor<float>::empty({2, 3}), b = Tensor<float>::empty({5});
  rng.fill_normal(a.values(), 0.0, 1.0);
  rng.fill_normal(b.values(), 0.0, 1.0);
  GgufWriter<float> writer;
  writer.add("key", "value");
  writer.add("a", a, Dtype::F32);
  writer.add("b", b, Dtype::F16);
  writer.write(folder / "small.gguf");
  return read_file(folder / "small.gguf");
}

/// What the reader says of such a file; empty when it accepts it.
std::string error_with(const TemporaryFolder& folder, const std::string& content) {
  write_file_atomically(folder / "changed.gguf", content);
  return error_of<FormatError>([&] { GgufReader(folder / "changed.gguf"); });
}

/// A key as GGUF stores it, its value's bytes given.
std::string key_of(const std::string& name, GgufType type, const std::string& bytes) {
  std::string text(12 + name.size(), '\0');
  const std::uint64_t size = name.size();
  const auto number = static_cast<std::uint32_t>(type);
  std::memcpy(text.data(), &size, sizeof size);
  name.copy(text.data() + 8, name.size());
  std::memcpy(text.data() + 8 + name.size(), &number, sizeof number);
  return text + bytes;
}

template <class... Number>
std::string bytes_of(Number... numbers) {
  std::string bytes;
  (bytes.append(reinterpret_cast<const char*>(&numbers), sizeof numbers), ...);
  return bytes;
}

/// A file of these keys and no tensors.
std::string file_of_keys(const std::vector<std::string>& keys) {
  std::string content = "GGUF" + bytes_of(std::uint32_t{3}, std::uint64_t{0}, std::uint64_t{keys.size()});
  for (const std::string& key : keys) content += key;
  return content;
}

template <class Number>
std::string with_number(std::string content, std::size_t place, Number number) {
  std::memcpy(content.data() + place, &number, sizeof number);
  return content;
}

TEST(Float16, IsTheNearest) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_float16(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_float16(to_float16(value))));
      continue;
    }
    ASSERT_EQ(to_float16(value), half);
    if ((bits & 0x7fffU) >= 0x7bffU) continue;
    // Between two neighbours: the nearer, and the even one in the middle.
    const float next = from_float16(static_cast<std::uint16_t>(half + 1)), middle = (value + next) / 2;
    ASSERT_EQ(to_float16(middle), half % 2 == 0 ? half : half + 1) << bits;
    ASSERT_EQ(to_float16(std::nextafter(middle, value)), half) << bits;
    ASSERT_EQ(to_float16(std::nextafter(middle, next)), half + 1) << bits;
  }
  EXPECT_EQ(to_float16(65519.0F), 0x7bffU);
  EXPECT_EQ(to_float16(65520.0F), 0x7c00U);
  EXPECT_EQ(to_float16(-1e30F), 0xfc00U);
  EXPECT_EQ(to_float16(1e-30F), 0U);
}

TEST(Gguf, GivesBackTheModelAndItsTokenizer) {
  const TemporaryFolder folder;
  for (const Dtype dtype : {Dtype::F32, Dtype::F16, Dtype::BF16}) {
    const auto model = random_gpt(config_of(3));
    save_gguf(model, folder / "model.gguf", three_tokens(), dtype);
    const GgufReader file(folder / "model.gguf");
    const auto loaded = load_gguf<float>(file);
    EXPECT_EQ(loaded.config.hidden(), 17);
    EXPECT_EQ(loaded.config.context, 3);
    EXPECT_FLOAT_EQ(static_cast<float>(loaded.config.layer_norm_eps), 1e-5F);
    EXPECT_EQ(load_gguf_tokenizer(file), three_tokens());
    if (dtype == Dtype::F32) testing::expect_same_parameters<float>(model, loaded);
    const auto a = collect_parameters<float>(model).parameters,
               b = collect_parameters<float>(loaded).parameters;
    const double rounding = dtype == Dtype::F16 ? 1.0 / 2048 : dtype == Dtype::BF16 ? 1.0 / 256 : 0.0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      for (Index j = 0; j < a[i].tensor.size(); ++j) {
        const double value = a[i].tensor.data()[j];
        ASSERT_NEAR(b[i].tensor.data()[j], value,
                    std::abs(value) * rounding + (dtype == Dtype::F16 ? 1e-7 : 0));
      }
    }
  }
}

TEST(Gguf, GivesBackModelsOfOddSizes) {
  const TemporaryFolder folder;
  for (const Index size : {1, 3, 7, 17}) {
    const auto model = random_gpt(
        {.vocab_size = 3, .context = size, .layers = 1, .heads = size, .d_model = size, .d_ff = 18 - size});
    save_gguf(model, folder / "model.gguf", three_tokens());
    testing::expect_same_parameters<float>(model, load_gguf<float>(GgufReader(folder / "model.gguf")));
  }
}

TEST(Gguf, IsRefusedWhenItHasMoreLayersThanItStates) {
  const TemporaryFolder folder;
  save_gguf(random_gpt(config_of(3)), folder / "model.gguf", three_tokens());
  const std::string content = read_file(folder / "model.gguf"), key = "gpt2.block_count";
  const auto fewer =
      folder.file("fewer.gguf", with_number(content, content.find(key) + key.size() + 4, std::uint32_t{1}));
  const GgufReader file(fewer);
  EXPECT_NE(error_of<FormatError>([&] { load_gguf<float>(file); }).find("\"blk.1.attn_norm.weight\""),
            std::string::npos);
}

TEST(Gguf, LeavesTheOldFileWhenWritingFails) {
  const TemporaryFolder folder;
  const auto model = random_gpt(config_of(3));
  save_gguf(model, folder / "model.gguf", three_tokens());
  const std::string before = read_file(folder / "model.gguf");
  model.blocks[1].ffn.down.weight.values()[5] = 65520.0F;
  EXPECT_NE(error_of<ConfigError>([&] {
              save_gguf(model, folder / "model.gguf", three_tokens(), Dtype::F16);
            }).find("65520 is beyond F16, which ends at 65504"),
            std::string::npos);
  EXPECT_EQ(read_file(folder / "model.gguf"), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_THROW(save_gguf(model, folder / "absent" / "model.gguf", three_tokens()), IoError);
  model.blocks[1].ffn.down.weight.values()[5] = 65504.0F;
  save_gguf(model, folder / "model.gguf", three_tokens(), Dtype::F16);
  const auto loaded = load_gguf<float>(GgufReader(folder / "model.gguf"));
  EXPECT_EQ(loaded.blocks[1].ffn.down.weight.values()[5], 65504.0F);
}

TEST(Gguf, HasTheLayoutOfItsSpecification) {
  const TemporaryFolder folder;
  const std::string content = small_file(folder);
  // magic, version, counts; key: length, text, type, length, text; info: name, rank, extents, type, offset.
  const std::string header =
      std::string("GGUF\3\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24) +
      std::string("\3\0\0\0\0\0\0\0key\x08\0\0\0\5\0\0\0\0\0\0\0value", 28) +
      std::string("\1\0\0\0\0\0\0\0a\2\0\0\0\3\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 41) +
      std::string("\1\0\0\0\0\0\0\0b\1\0\0\0\5\0\0\0\0\0\0\0\1\0\0\0\x20\0\0\0\0\0\0\0", 33);
  EXPECT_EQ(content.substr(0, header.size()), header);
  EXPECT_EQ(content.size(), 128U + 32 + 32);
}

TEST(Gguf, IsRefusedWhenItIsCut) {
  const TemporaryFolder folder;
  const std::string content = small_file(folder);
  for (std::size_t size = 0; size < content.size() - 22; ++size)  // the last tensor's padding may be missing
    ASSERT_NE(error_with(folder, content.substr(0, size)), "") << size;
  EXPECT_EQ(error_with(folder, content.substr(0, content.size() - 22)), "");
  EXPECT_NE(error_with(folder, content + std::string(1, '\0')).find("after its last tensor"),
            std::string::npos);
}

TEST(Gguf, IsRefusedWhenItIsDamaged) {
  const TemporaryFolder folder;
  const std::string content = small_file(folder);
  const std::vector<std::pair<std::string, std::string>> cases{
      {with_number(content, 0, 'g'), "is not a GGUF file"},
      {with_number(content, 4, std::uint32_t{1}), "has version 1"},
      {with_number(content, 4, std::uint32_t{3} << 24), "big-endian"},
      {with_number(content, 8, std::uint64_t{1} << 60), "ends early"},
      {with_number(content, 16, std::uint64_t{1} << 60), "ends early"},
      {with_number(content, 24, ~std::uint64_t{0}), "ends early"},
      {with_number(content, 35, std::uint32_t{13}), "value of type 13"},
      {with_number(content, 61, std::uint32_t{0}), "0 axes"},
      {with_number(content, 61, std::uint32_t{5}), "5 axes"},
      {with_number(content, 65, std::uint64_t{1} << 62), "larger than the file"},
      {with_number(content, 65, std::uint64_t{5}), "it must follow at 64"},
      {with_number(content, 81, std::uint32_t{2}), "is of type 2"},
      {with_number(content, 85, std::uint64_t{32}), "it must follow at 0"},
      {with_number(content, 101, 'a'), "has the tensor \"a\" twice"}};
  for (const auto& [changed, word] : cases)
    EXPECT_NE(error_with(folder, changed).find(word), std::string::npos)
        << word << ": " << error_with(folder, changed);
}

TEST(Gguf, KeysAreReadOfEveryType) {
  const TemporaryFolder folder;
  const std::string hi = bytes_of(std::uint64_t{2}) + "hi";
  const auto list = [](GgufType of, std::uint64_t count, const std::string& bytes) {
    return bytes_of(static_cast<std::uint32_t>(of), count) + bytes;
  };
  const std::vector<std::tuple<GgufType, std::string, nlohmann::json>> scalars{
      {GgufType::u8, bytes_of(std::uint8_t{255}), 255},
      {GgufType::i8, bytes_of(std::int8_t{-128}), -128},
      {GgufType::u16, bytes_of(std::uint16_t{65535}), 65535},
      {GgufType::i16, bytes_of(std::int16_t{-32768}), -32768},
      {GgufType::u32, bytes_of(~std::uint32_t{0}), ~std::uint32_t{0}},
      {GgufType::i32, bytes_of(std::int32_t{-7}), -7},
      {GgufType::f32, bytes_of(0.5F), 0.5},
      {GgufType::boolean, bytes_of(std::uint8_t{1}), true},
      {GgufType::string, hi, "hi"},
      {GgufType::u64, bytes_of(~std::uint64_t{0}), ~std::uint64_t{0}},
      {GgufType::i64, bytes_of(std::int64_t{-1}), -1},
      {GgufType::f64, bytes_of(0.1), 0.1}};
  for (const auto& [type, bytes, expected] : scalars) {
    const auto path =
        folder.file("keys.gguf", file_of_keys({key_of("one", type, bytes),
                                               key_of("two", GgufType::array, list(type, 2, bytes + bytes)),
                                               key_of("none", GgufType::array, list(type, 0, ""))}));
    const GgufReader file(path);
    EXPECT_EQ(file.values().at("one"), expected);
    EXPECT_EQ(file.values().at("two"), nlohmann::json::array({expected, expected}));
    EXPECT_EQ(file.values().at("none"), nlohmann::json::array());
  }
}

TEST(Gguf, ValuesOfAnotherKindAreRefused) {
  const TemporaryFolder folder;
  GgufWriter<float> writer;
  writer.add("u32", std::uint32_t{4'000'000'000});
  writer.add("f32", 0.5F);
  writer.add("yes", true);
  writer.add("texts", std::vector<std::string>{"x", ""});
  writer.add("list", std::vector<std::int32_t>{-1, 2});
  writer.write(folder / "keys.gguf");
  const GgufReader file(folder / "keys.gguf");
  EXPECT_EQ(file.values().at("texts"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(file.values().at("list"), (std::vector<int>{-1, 2}));
  EXPECT_EQ(file.real("f32"), 0.5);
  EXPECT_THROW(file.integer("u32"), FormatError);
  EXPECT_THROW(file.integer("f32"), FormatError);
  EXPECT_THROW(file.text("yes"), FormatError);
  EXPECT_THROW(file.real("absent"), FormatError);
}

TEST(Gguf, DamagedKeysAreRefused) {
  const TemporaryFolder folder;
  const auto list = [](std::uint32_t of, std::uint64_t count) {
    return file_of_keys({key_of("k", GgufType::array, bytes_of(of, count))});
  };
  const std::string one = key_of("k", GgufType::u8, bytes_of(std::uint8_t{1}));
  const std::vector<std::pair<std::string, std::string>> cases{
      {file_of_keys({one, one}), "has the key \"k\" twice"},
      {file_of_keys({key_of("k", GgufType::boolean, bytes_of(std::uint8_t{2}))}), "has 2 for true or false"},
      {file_of_keys({key_of("k", GgufType::string, bytes_of(~std::uint64_t{0}))}), "ends early"},
      {list(0, ~std::uint64_t{0}), "claims a list of 18446744073709551615 values"},
      {list(9, 1) + std::string(12, '\0'), "value of type 9"},
      {list(8, 1), "claims a list of 1 values: 0 bytes"}};
  for (const auto& [content, word] : cases)
    EXPECT_NE(error_with(folder, content).find(word), std::string::npos)
        << word << ": " << error_with(folder, content);
}

TEST(Gguf, TensorsStandAtTheAlignmentThatTheFileStates) {
  const TemporaryFolder folder;
  const auto aligned_to = [&](std::uint32_t alignment, std::size_t place) {
    std::string content = "GGUF" + bytes_of(std::uint32_t{3}, std::uint64_t{1}, std::uint64_t{1}) +
                          key_of("general.alignment", GgufType::u32, bytes_of(alignment)) +
                          bytes_of(std::uint64_t{1}) + "t" +
                          bytes_of(std::uint32_t{1}, std::uint64_t{1}, std::uint32_t{0}, std::uint64_t{0});
    content.resize(place);
    return content + bytes_of(7.0F);
  };
  for (const std::uint32_t alignment : {8U, 16U, 64U, 65536U}) {
    const std::size_t place = (90 + alignment - 1) / alignment * alignment;
    const GgufReader file(folder.file("aligned.gguf", aligned_to(alignment, place)));
    const auto value = Tensor<float>::empty({1});
    file.read_into("t", value);
    EXPECT_EQ(value.data()[0], 7.0F) << alignment;
  }
  for (const std::uint32_t alignment : {0U, 1U, 4U, 24U, 131072U, ~0U}) {
    EXPECT_NE(error_with(folder, aligned_to(alignment, 96)).find("general.alignment"), std::string::npos)
        << alignment;
  }
  EXPECT_NE(error_with(folder, aligned_to(64, 96)).find("ends at byte 132 of a file of 100"),
            std::string::npos);
}

TEST(Gguf, RefusesModelsThatItCannotHold) {
  const TemporaryFolder folder;
  const auto refuse = [&](const Gpt<float>& model, const GgufTokenizer& tokenizer) {
    return error_of<ConfigError>([&] { save_gguf(model, folder / "model.gguf", tokenizer); });
  };
  EXPECT_NE(refuse(random_gpt(config_of(4)), three_tokens()).find("3 tokens, the model 4"),
            std::string::npos);
  GptConfig erf = config_of(3);
  erf.activation = Activation::gelu_erf;
  EXPECT_NE(refuse(random_gpt(erf), three_tokens()).find("another activation"), std::string::npos);
  EXPECT_THROW(GgufWriter<float>().add(std::string(65, 'x'), Tensor<float>::empty({1}), Dtype::F32),
               ConfigError);
  EXPECT_THROW(GgufWriter<float>().add("x", Tensor<float>::empty({1}), Dtype::I8), ConfigError);
  EXPECT_FALSE(std::filesystem::exists(folder / "model.gguf"));
}

TEST(Gguf, UnusedTokensFillTheVocabularyUp) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  tokens.emplace_back("ab");
  tokens.emplace_back("<|endoftext|>");
  const data::BpeTokenizer tokenizer(tokens, {{97, 98, 256}}, {{"<|endoftext|>", 257}});
  EXPECT_EQ(data::from_gguf(data::to_gguf(tokenizer, 258), "file"), tokenizer);
  const GgufTokenizer padded = data::to_gguf(tokenizer, 260);
  EXPECT_EQ(padded.tokens.size(), 260U);
  EXPECT_EQ(padded.types.back(), 5);
  EXPECT_EQ(data::from_gguf(padded, "file").encode("ab"), std::vector<std::int32_t>{256});
}

}  // namespace
}  // namespace exfusion::io
