#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
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
  GgufWriter<float> writer;
  writer.add("u32", std::uint32_t{4'000'000'000});
  writer.add("f32", 0.5F);
  writer.add("yes", true);
  writer.add("list", std::vector<std::int32_t>{-1, 2});
  writer.add("texts", std::vector<std::string>{"x", ""});
  writer.write(folder / "keys.gguf");
  const GgufReader file(folder / "keys.gguf");
  EXPECT_EQ(file.values().at("u32"), 4'000'000'000U);
  EXPECT_EQ(file.values().at("f32"), 0.5);
  EXPECT_EQ(file.values().at("yes"), true);
  EXPECT_EQ(file.values().at("list"), (std::vector<int>{-1, 2}));
  EXPECT_EQ(file.values().at("texts"), (std::vector<std::string>{"x", ""}));
  EXPECT_THROW(file.integer("u32"), FormatError);
  EXPECT_THROW(file.text("yes"), FormatError);
  EXPECT_THROW(file.real("absent"), FormatError);
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
