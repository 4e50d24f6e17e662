#include <map>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/io/gpt2.hpp>

#include "io/model_support.hpp"
#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

constexpr GptConfig small{.vocab_size = 11, .context = 9, .layers = 2, .heads = 2, .d_model = 6, .d_ff = 10};

template <Scalar T>
Gpt<T> random_gpt(const GptConfig& config = small) {
  Rng rng(5);
  Gpt<T> model(config, rng);
  testing::randomise<T>(model, rng);
  return model;
}

/// A saved model whose files a test then damages.
struct Saved {
  TemporaryFolder folder;
  std::filesystem::path config = folder / "config.json";
  std::filesystem::path weights = folder / "model.safetensors";

  explicit Saved(const GptConfig& sizes = small) { save_gpt2(random_gpt<float>(sizes), folder.path()); }

  std::vector<NamedTensor<float>> tensors() const {
    const SafetensorsReader reader(weights);
    std::vector<NamedTensor<float>> list;
    for (const auto& tensor : reader.tensors())
      list.push_back({tensor.name, reader.read<float>(tensor.name)});
    return list;
  }

  Gpt<float> load() const { return load_gpt2<float>(folder.path()); }
  template <class Expected>
  std::string refusal() const {
    return error_of<Expected>([&] { load(); });
  }
};

template <Scalar T>
void expect_round_trip(const GptConfig& config) {
  const TemporaryFolder folder;
  const auto model = random_gpt<T>(config);
  save_gpt2(model, folder / "made" / "on the way");
  const auto loaded = load_gpt2<T>(folder / "made" / "on the way");
  testing::expect_same_parameters<T>(model, loaded);
  const IntTensor tokens({1, 3}, {1, 10, 4});
  EXPECT_TRUE(std::ranges::equal(model({}, tokens).values(), loaded({}, tokens).values()));
  EXPECT_EQ(loaded.config.dropout, config.dropout);
  EXPECT_EQ(loaded.config.layer_norm_eps, config.layer_norm_eps);
  EXPECT_EQ(loaded.config.activation, config.activation);
}

TEST(Gpt2Folder, WhatIsSavedLoadsBackBitForBit) {
  expect_round_trip<float>(small);
  expect_round_trip<double>(small);
  GptConfig other = small;
  other.d_ff = 0;
  other.dropout = 0.2;
  other.layer_norm_eps = 1e-6;
  other.activation = Activation::gelu_erf;
  expect_round_trip<float>(other);
}

TEST(Gpt2Folder, HasTheNamesAndShapesOfHuggingFace) {
  const Saved saved;
  const SafetensorsReader reader(saved.weights);
  std::map<std::string, Shape> expected{{"transformer.wte.weight", {11, 6}},
                                        {"transformer.wpe.weight", {9, 6}},
                                        {"transformer.ln_f.weight", {6}},
                                        {"transformer.ln_f.bias", {6}}};
  for (const std::string layer : {"transformer.h.0.", "transformer.h.1."}) {
    for (const auto& [name, shape] : std::map<std::string, Shape>{{"ln_1.weight", {6}},
                                                                  {"ln_1.bias", {6}},
                                                                  {"ln_2.weight", {6}},
                                                                  {"ln_2.bias", {6}},
                                                                  {"attn.c_attn.weight", {6, 18}},
                                                                  {"attn.c_attn.bias", {18}},
                                                                  {"attn.c_proj.weight", {6, 6}},
                                                                  {"attn.c_proj.bias", {6}},
                                                                  {"mlp.c_fc.weight", {6, 10}},
                                                                  {"mlp.c_fc.bias", {10}},
                                                                  {"mlp.c_proj.weight", {10, 6}},
                                                                  {"mlp.c_proj.bias", {6}}}) {
      expected[layer + name] = shape;
    }
  }
  EXPECT_EQ(reader.tensors().size(), expected.size());
  for (const auto& [name, shape] : expected) EXPECT_EQ(reader.shape(name), shape) << name;
  EXPECT_EQ(reader.metadata().at("format"), "pt");
}

TEST(Gpt2Folder, LinearWeightsAreStoredTransposed) {
  const Saved saved;
  const auto model = saved.load();
  const auto stored = SafetensorsReader(saved.weights).read<float>("transformer.h.1.mlp.c_fc.weight");
  for (Index in = 0; in < 6; ++in) {
    for (Index out = 0; out < 10; ++out) {
      EXPECT_EQ(stored.data()[in * 10 + out], model.blocks[1].ffn.up.weight.data()[out * 6 + in]);
    }
  }
}

TEST(Gpt2Folder, TheConfigurationSaysWhatTransformersNeeds) {
  GptConfig config = small;
  config.dropout = 0.1;
  const Saved saved(config);
  const auto json = testing::read_json(saved.config);
  EXPECT_EQ(json["model_type"], "gpt2");
  EXPECT_EQ(json["architectures"], nlohmann::json::array({"GPT2LMHeadModel"}));
  EXPECT_EQ(json["vocab_size"], 11);
  EXPECT_EQ(json["n_positions"], 9);
  EXPECT_EQ(json["n_embd"], 6);
  EXPECT_EQ(json["n_layer"], 2);
  EXPECT_EQ(json["n_head"], 2);
  EXPECT_EQ(json["n_inner"], 10);
  EXPECT_EQ(json["activation_function"], "gelu_new");
  EXPECT_EQ(json["layer_norm_epsilon"], 1e-5);
  EXPECT_EQ(json["resid_pdrop"], 0.1);
}

TEST(Gpt2Folder, BareNamesMasksAndATiedHeadAreAccepted) {
  const Saved saved;
  const auto model = saved.load();
  auto tensors = saved.tensors();
  for (auto& tensor : tensors) tensor.name = tensor.name.substr(std::string("transformer.").size());
  tensors.push_back({"h.0.attn.bias", Tensor<float>::zeros({1, 1, 9, 9})});
  tensors.push_back({"h.0.attn.masked_bias", Tensor<float>::zeros({})});
  tensors.push_back({"lm_head.weight", model.wte});
  write_safetensors(saved.weights, tensors);
  testing::expect_same_parameters<float>(model, saved.load());
}

TEST(Gpt2Folder, AnotherHeadThanTheEmbeddingIsRefused) {
  const Saved saved;
  auto tensors = saved.tensors();
  tensors.push_back({"lm_head.weight", Tensor<float>::zeros({11, 6})});
  write_safetensors(saved.weights, tensors);
  EXPECT_NE(saved.refusal<FormatError>().find("lm_head.weight differs"), std::string::npos);
}

TEST(Gpt2Folder, MissingUnknownAndMisshapenTensorsAreRefusedByName) {
  const Saved saved;
  const auto good = saved.tensors();
  const auto refusal_of = [&](std::vector<NamedTensor<float>> tensors) {
    write_safetensors(saved.weights, std::move(tensors));
    return saved.refusal<FormatError>();
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto tensors = good;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(i));
    const std::string bare = good[i].name.substr(std::string("transformer.").size());
    EXPECT_NE(refusal_of(tensors).find(bare), std::string::npos) << good[i].name;
    tensors.push_back({good[i].name, Tensor<float>::zeros({5, 1})});
    EXPECT_NE(refusal_of(tensors).find(good[i].name), std::string::npos) << good[i].name;
  }
  auto tensors = good;
  tensors.push_back({"score.weight", Tensor<float>::zeros({2, 6})});
  EXPECT_NE(refusal_of(tensors).find("score.weight"), std::string::npos);
}

TEST(Gpt2Folder, UnsupportedConfigurationsAreRefusedByName) {
  const std::map<std::string, nlohmann::json> unsupported{{"model_type", "gpt_neo"},
                                                          {"activation_function", "relu"},
                                                          {"scale_attn_weights", false},
                                                          {"scale_attn_by_inverse_layer_idx", true},
                                                          {"reorder_and_upcast_attn", true},
                                                          {"tie_word_embeddings", false},
                                                          {"add_cross_attention", true},
                                                          {"n_head", 4},
                                                          {"resid_pdrop", 1.5},
                                                          {"layer_norm_epsilon", 0}};
  for (const auto& [key, value] : unsupported) {
    const Saved saved;
    testing::set_json(saved.config, key, value);
    EXPECT_NE(saved.refusal<ConfigError>(), "") << key;
  }
}

TEST(Gpt2Folder, AConfigurationThatContradictsTheFileIsRefusedBeforeAModelIsMade) {
  const std::map<std::string, nlohmann::json> wrong{{"vocab_size", 1'000'000'000},
                                                    {"n_positions", 1'000'000'000},
                                                    {"n_layer", 1'000'000'000},
                                                    {"n_inner", 1 << 30},
                                                    {"n_embd", 8},
                                                    {"n_layer", 3},
                                                    {"n_inner", nullptr}};
  for (const auto& [key, value] : wrong) {
    const Saved saved;
    testing::set_json(saved.config, key, value);
    EXPECT_NE(saved.refusal<FormatError>(), "") << key << " = " << value;
  }
}

TEST(Gpt2Folder, ADamagedConfigurationIsAFormatError) {
  for (const std::string text :
       {"", "{", "[]", "null", R"({"n_layer": 2, "n_layer": 3})", R"({"n_layer": "two"})",
        R"({"n_layer": 2.5})", R"({"n_layer": 99999999999999999999})", "\xff", "{}x"}) {
    const Saved saved;
    std::ofstream(saved.config) << text;
    EXPECT_NE(saved.refusal<FormatError>(), "") << text;
  }
  const Saved saved;
  std::ofstream(saved.config) << std::string(100'000, '[');
  EXPECT_NE(saved.refusal<FormatError>(), "");
}

TEST(Gpt2Folder, AModelThatTheLayoutCannotHoldIsAConfigErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  GptConfig config = small;
  config.activation = Activation::swiglu;
  const auto gated = random_gpt<float>(config);
  const std::string error = error_of<ConfigError>([&] { save_gpt2(gated, folder / "out"); });
  EXPECT_NE(error.find("swiglu"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));

  auto uneven = random_gpt<float>();
  Rng rng;
  uneven.blocks[1].ffn = FeedForward<float>({.d_model = 6, .d_ff = 8}, rng);
  EXPECT_THROW(save_gpt2(uneven, folder / "out"), ConfigError);
}

TEST(Gpt2Folder, AFolderThatCannotBeWrittenIsAnIoErrorAndNothingIsHalfWritten) {
  const TemporaryFolder folder;
  folder.file("file", "in the way");
  EXPECT_THROW(save_gpt2(random_gpt<float>(), folder / "file"), IoError);
  EXPECT_THROW(save_gpt2(random_gpt<float>(), folder / "file" / "below"), IoError);
  EXPECT_THROW(load_gpt2<float>(folder / "absent"), IoError);

  std::filesystem::create_directories(folder / "out" / "model.safetensors" / "x");
  EXPECT_THROW(save_gpt2(random_gpt<float>(), folder / "out"), IoError);
  const auto left = std::distance(std::filesystem::directory_iterator(folder / "out"), {});
  EXPECT_EQ(left, 1) << "only what was there before";
}

}  // namespace
}  // namespace exfusion::io
