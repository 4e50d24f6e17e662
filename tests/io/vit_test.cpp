#include <map>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/io/vit.hpp>

#include "io/model_support.hpp"
#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

constexpr VitConfig small{.image_size = 6,
                          .channels = 2,
                          .patch_size = 3,
                          .classes = 3,
                          .layers = 2,
                          .heads = 2,
                          .d_model = 4,
                          .d_ff = 7};

template <Scalar T>
Vit<T> random_vit(const VitConfig& config = small) {
  Rng rng(6);
  Vit<T> model(config, rng);
  testing::randomise<T>(model, rng);
  return model;
}

template <Scalar T>
void expect_round_trip(const VitConfig& config) {
  const TemporaryFolder folder;
  const auto model = random_vit<T>(config);
  save_vit(model, folder / "new", {"cat", "dog", "\"quoted\" ü"});
  const auto loaded = load_vit<T>(folder / "new");
  testing::expect_same_parameters<T>(model, loaded);
  Rng rng(8);
  const auto images = Tensor<T>::empty({2, 2, 6, 6});
  rng.fill_normal(images.values(), 0.0, 1.0);
  EXPECT_TRUE(std::ranges::equal(model({}, images).values(), loaded({}, images).values()));
  EXPECT_EQ(loaded.config.layer_norm_eps, config.layer_norm_eps);
  EXPECT_EQ(loaded.config.dropout, config.dropout);
  EXPECT_EQ(loaded.config.activation, config.activation);
}

TEST(VitFolder, WhatIsSavedLoadsBackBitForBit) {
  expect_round_trip<float>(small);
  expect_round_trip<double>(small);
  VitConfig other = small;
  other.dropout = 0.1;
  other.layer_norm_eps = 1e-6;
  other.activation = Activation::gelu_tanh;
  expect_round_trip<float>(other);
}

TEST(VitFolder, HasTheNamesAndShapesOfHuggingFace) {
  const TemporaryFolder folder;
  save_vit(random_vit<float>(), folder.path());
  std::map<std::string, Shape> expected{{"vit.embeddings.cls_token", {1, 1, 4}},
                                        {"vit.embeddings.position_embeddings", {1, 5, 4}},
                                        {"vit.embeddings.patch_embeddings.projection.weight", {4, 2, 3, 3}},
                                        {"vit.embeddings.patch_embeddings.projection.bias", {4}},
                                        {"vit.layernorm.weight", {4}},
                                        {"vit.layernorm.bias", {4}},
                                        {"classifier.weight", {3, 4}},
                                        {"classifier.bias", {3}}};
  for (const std::string layer : {"vit.encoder.layer.0.", "vit.encoder.layer.1."}) {
    for (const std::string norm : {"layernorm_before", "layernorm_after"}) {
      expected[layer + norm + ".weight"] = expected[layer + norm + ".bias"] = {4};
    }
    for (const std::string linear : {"attention.attention.query", "attention.attention.key",
                                     "attention.attention.value", "attention.output.dense"}) {
      expected[layer + linear + ".weight"] = {4, 4};
      expected[layer + linear + ".bias"] = {4};
    }
    expected[layer + "intermediate.dense.weight"] = {7, 4};
    expected[layer + "intermediate.dense.bias"] = {7};
    expected[layer + "output.dense.weight"] = {4, 7};
    expected[layer + "output.dense.bias"] = {4};
  }
  const SafetensorsReader reader(folder / "model.safetensors");
  EXPECT_EQ(reader.tensors().size(), expected.size());
  for (const auto& [name, shape] : expected) EXPECT_EQ(reader.shape(name), shape) << name;
}

TEST(VitFolder, QueryKeyAndValueAreTheThreeParts) {
  const TemporaryFolder folder;
  const auto model = random_vit<float>();
  save_vit(model, folder.path());
  const SafetensorsReader reader(folder / "model.safetensors");
  Index part = 0;
  for (const std::string which : {"query", "key", "value"}) {
    const std::string name = "vit.encoder.layer.1.attention.attention." + which;
    const auto& qkv = model.blocks[1].attention.qkv;
    EXPECT_TRUE(std::ranges::equal(reader.read<float>(name + ".weight").values(),
                                   qkv.weight.values().subspan(static_cast<std::size_t>(part * 16), 16)));
    EXPECT_TRUE(std::ranges::equal(reader.read<float>(name + ".bias").values(),
                                   qkv.bias.values().subspan(static_cast<std::size_t>(part * 4), 4)));
    ++part;
  }
}

TEST(VitFolder, TheConfigurationSaysWhatTransformersNeeds) {
  const TemporaryFolder folder;
  save_vit(random_vit<float>(), folder.path(), {"cat", "dog", "cow"});
  const auto json = testing::read_json(folder / "config.json");
  EXPECT_EQ(json["model_type"], "vit");
  EXPECT_EQ(json["hidden_size"], 4);
  EXPECT_EQ(json["num_hidden_layers"], 2);
  EXPECT_EQ(json["num_attention_heads"], 2);
  EXPECT_EQ(json["intermediate_size"], 7);
  EXPECT_EQ(json["hidden_act"], "gelu");
  EXPECT_EQ(json["image_size"], 6);
  EXPECT_EQ(json["patch_size"], 3);
  EXPECT_EQ(json["num_channels"], 2);
  EXPECT_EQ(json["qkv_bias"], true);
  EXPECT_EQ(json["id2label"]["1"], "dog");
  EXPECT_EQ(json["label2id"]["cow"], 2);
}

TEST(VitFolder, WhatTheLayoutCannotHoldIsAConfigErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  VitConfig mean = small, gated = small;
  mean.pooling = Pooling::mean;
  gated.activation = Activation::swiglu;
  EXPECT_NE(error_of<ConfigError>([&] { save_vit(random_vit<float>(mean), folder / "out"); }).find("mean"),
            std::string::npos);
  EXPECT_NE(error_of<ConfigError>([&] { save_vit(random_vit<float>(gated), folder / "out"); }).find("swiglu"),
            std::string::npos);
  EXPECT_THROW(save_vit(random_vit<float>(), folder / "out", {"a", "b"}), ConfigError);
  EXPECT_THROW(save_vit(random_vit<float>(), folder / "out", {"a", "b", "a"}), ConfigError);
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
  folder.file("file", "in the way");
  EXPECT_THROW(save_vit(random_vit<float>(), folder / "file"), IoError);
}

TEST(VitFolder, UnsupportedOrContradictoryConfigurationsAreRefused) {
  const std::map<std::string, nlohmann::json> unsupported{
      {"model_type", "deit"}, {"hidden_act", "relu"}, {"qkv_bias", false}, {"num_attention_heads", 3}};
  const std::map<std::string, nlohmann::json> wrong{{"hidden_size", 8},
                                                    {"num_hidden_layers", 1'000'000'000},
                                                    {"intermediate_size", 1'000'000},
                                                    {"image_size", 9},
                                                    {"patch_size", 2},
                                                    {"num_channels", 3},
                                                    {"id2label", {{"0", "only"}}}};
  const auto change = [](const std::string& key, const nlohmann::json& value, auto load) {
    const TemporaryFolder folder;
    save_vit(random_vit<float>(), folder.path());
    testing::set_json(folder / "config.json", key, value);
    return load(folder.path());
  };
  for (const auto& [key, value] : unsupported) {
    EXPECT_NE(change(key, value,
                     [](const auto& path) { return error_of<ConfigError>([&] { load_vit<float>(path); }); }),
              "")
        << key;
  }
  for (const auto& [key, value] : wrong) {
    EXPECT_NE(change(key, value,
                     [](const auto& path) { return error_of<FormatError>([&] { load_vit<float>(path); }); }),
              "")
        << key;
  }
}

TEST(VitFolder, ATensorWithoutAPlaceIsRefused) {
  const TemporaryFolder folder;
  save_vit(random_vit<float>(), folder.path());
  std::vector<NamedTensor<float>> tensors;
  {
    const SafetensorsReader reader(folder / "model.safetensors");
    for (const auto& tensor : reader.tensors())
      tensors.push_back({tensor.name, reader.read<float>(tensor.name)});
  }
  tensors.push_back({"vit.pooler.dense.weight", Tensor<float>::zeros({4, 4})});
  write_safetensors(folder / "model.safetensors", tensors);
  EXPECT_NE(error_of<FormatError>([&] { load_vit<float>(folder.path()); }).find("vit.pooler"),
            std::string::npos);
}

/// Writes a model under timm's names, with the config.json of an architecture.
void save_timm(const Vit<float>& model, const std::filesystem::path& folder, nlohmann::ordered_json json) {
  save_hugging_face(folder, detail::timm_layout(model), json, Dtype::F32);
}

TEST(TimmVit, LoadsUnderItsOwnNames) {
  const TemporaryFolder folder;
  VitConfig config = small;
  config.layer_norm_eps = 1e-6;
  const auto model = random_vit<float>(config);
  const nlohmann::ordered_json json{{"architecture", "vit_test_patch3_6"},
                                    {"num_classes", 3},
                                    {"global_pool", "token"},
                                    {"model_args", {{"num_heads", 2}}}};
  save_timm(model, folder.path(), json);
  const auto loaded = load_vit<float>(folder.path());
  testing::expect_same_parameters<float>(model, loaded);
  EXPECT_EQ(loaded.config.image_size, 6);
  EXPECT_EQ(loaded.config.heads, 2);
  EXPECT_EQ(loaded.config.layers, 2);
  EXPECT_EQ(loaded.config.d_ff, 7);
  EXPECT_EQ(loaded.config.layer_norm_eps, 1e-6);
  EXPECT_EQ(loaded.config.activation, Activation::gelu_erf);
}

TEST(TimmVit, RefusesWhatIsNotSupported) {
  const TemporaryFolder folder;
  const auto model = random_vit<float>();
  const auto error = [&](const nlohmann::ordered_json& json) {
    save_timm(model, folder.path(), json);
    return error_of<Error>([&] { load_vit<float>(folder.path()); });
  };
  EXPECT_NE(error({{"architecture", "vit_x"}, {"global_pool", "avg"}}).find("global_pool is \"avg\""),
            std::string::npos);
  EXPECT_NE(error({{"architecture", "vit_x"}}).find("num_heads is missing"), std::string::npos);
  EXPECT_NE(error({{"architecture", "resnet50"}}).find("architecture is \"resnet50\""), std::string::npos);
  EXPECT_NE(error({{"architecture", "vit_x"}, {"model_args", {{"num_heads", 3}}}}).find("heads"),
            std::string::npos);
}

}  // namespace
}  // namespace exfusion::io
