#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/stored_model.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

const GptConfig small{.vocab_size = 7, .context = 3, .layers = 2, .heads = 1, .d_model = 3, .d_ff = 5};

nlohmann::json described(const FfnConfig& ffn) {
  return {{"model", io::gpt2_config(small, "float32")}, {"ffn", io::ffn_config(ffn)}};
}

/// Writes the arrays of a model, and the average of its weights if there is one.
template <class Model>
void write(const std::filesystem::path& path, const Model& model, const nlohmann::json& config,
           Ema<float>* average = nullptr) {
  auto arrays = model_arrays(collect_parameters<float>(model));
  if (average != nullptr) {
    average->visit_state([&](const std::string& name, auto values) {
      arrays.push_back(detail::array_of("average." + name, values));
    });
  }
  std::vector<io::SafetensorsEntry> entries;
  for (const auto& array : arrays) entries.push_back({array.name, array.dtype, array.shape, array.bytes});
  io::write_checkpoint(path, std::move(entries), {config, nlohmann::json::object()});
}

template <class Model>
std::vector<float> weights(const Model& model) {
  std::vector<float> all;
  for (const auto& parameter : collect_parameters<float>(model).parameters)
    all.insert(all.end(), parameter.tensor.values().begin(), parameter.tensor.values().end());
  return all;
}

std::string error_of(const std::filesystem::path& path) {
  try {
    read_gpt<float>(io::CheckpointReader(path));
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(StoredModel, IsTheCollapsedOne) {
  const testing::TemporaryFolder folder;
  const std::vector<FfnConfig> configs{
      DenseFfnConfig{},
      FusedFfnConfig{.experts = 3, .init = ZeroSum{}, .rule = StaticFusionOptions{{0.5, 0.25, 0.25}}},
      FusedFfnConfig{.experts = 3,
                     .init = ZeroSum{},
                     .rule = LearnedFusionOptions{.granularity = FusionGranularity::row}},
      FusedFfnConfig{.experts = 4, .init = Drop{}}};
  for (const FfnConfig& ffn : configs) {
    Rng rng(3);
    with_ffn<float>(Gpt<float>(small, rng), ffn, rng, [&](auto model) {
      for (const auto& parameter : collect_parameters<float>(model).parameters)
        for (float& value : parameter.tensor.values()) value += 0.01F * static_cast<float>(rng.normal());
      write(folder / "model", model, described(ffn));
      const Gpt<float> read = read_gpt<float>(io::CheckpointReader(folder / "model"));
      const auto collapsed = exported(model);
      EXPECT_EQ(weights(read), weights(collapsed)) << io::ffn_config(ffn);
    });
  }
}

TEST(StoredModel, IsTheAverageWhereThereIsOne) {
  const testing::TemporaryFolder folder;
  Rng rng(4);
  const FfnConfig ffn = FusedFfnConfig{.experts = 2};
  with_ffn<float>(Gpt<float>(small, rng), ffn, rng, [&](auto model) {
    Ema<float> average(model);
    const auto before = weights(exported(model));
    for (float& value : model.wte.values()) value += 1;
    write(folder / "model", model, described(ffn), &average);
    EXPECT_EQ(weights(read_gpt<float>(io::CheckpointReader(folder / "model"))), before);
  });
}

TEST(StoredModel, RefusesWhatIsNoDenseModel) {
  const testing::TemporaryFolder folder;
  Rng rng;
  const Gpt<float> model(small, rng);
  const auto path = folder / "model";
  write(path, model, described(SparseMoEOptions{.experts = 1, .k = 1}));
  EXPECT_NE(error_of(path).find("sparse mixtures"), std::string::npos) << error_of(path);
  auto config = described(DenseFfnConfig{});
  config.erase("ffn");
  write(path, model, config);
  EXPECT_EQ(error_of(path), "[" + path.string() + "] does not say its \"ffn\"");
  // More experts than the file has room for.
  write(path, model, described(FusedFfnConfig{.experts = 1'000'000'000}));
  EXPECT_EQ(error_of(path), "[" + path.string() + "] is too small for the model that it describes");
  // Experts that are not there.
  write(path, model, described(FusedFfnConfig{.experts = 1}));
  EXPECT_NE(error_of(path).find("there is no tensor"), std::string::npos) << error_of(path);
}

}  // namespace
}  // namespace exfusion::train
