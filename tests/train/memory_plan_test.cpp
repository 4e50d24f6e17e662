#include <vector>

#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>
#include <exfusion/train/memory_plan.hpp>

namespace exfusion {
namespace {

using train::FfnKind;
using train::FfnPlan;
using train::MemoryPlan;
using train::plan_memory;
using train::RuleKind;

// Odd sizes: the segments of a slab are padded.
GptConfig gpt_config(Activation activation) {
  return {.vocab_size = 17,
          .context = 9,
          .layers = 3,
          .heads = 1,
          .d_model = 7,
          .d_ff = 11,
          .activation = activation};
}

VitConfig vit_config(Pooling pooling) {
  return {.image_size = 6,
          .patch_size = 2,
          .classes = 5,
          .layers = 2,
          .heads = 1,
          .d_model = 3,
          .pooling = pooling};
}

/// The plan's counts against those of a model and its optimizer.
template <class Model>
void expect_counted(const Model& model, const FfnPlan& ffn, bool bf16_moments) {
  const MemoryPlan plan =
      plan_memory(model.config, ffn, {.pass = {.batch = 2}, .average = true, .bf16_moments = bf16_moments});
  EXPECT_EQ(plan.parameters, parameter_count<float>(model));
  EXPECT_EQ(plan.exported, exported_parameter_count<float>(model));
  double parameters = 0, rows = 0, slabs = 0, moments = 0;
  for (const auto& parameter : collect_parameters<float>(model).parameters) {
    parameters += sizeof(float) * static_cast<double>(parameter.tensor.size());
  }
  for (const auto& [name, slab] : collect_parameters<float>(model).slabs) {
    slabs += sizeof(float) * static_cast<double>(slab.row_size());
    rows += sizeof(float) * static_cast<double>(slab.row_size() * slab.experts());
  }
  AdamW<float> optimizer(model, {.bf16_moments = bf16_moments});
  optimizer.visit_state([&]<class Number>(const std::string&, std::span<Number> values) {
    if constexpr (sizeof(Number) == sizeof(float)) moments += static_cast<double>(values.size_bytes());
  });
  if (ffn.kind == FfnKind::sparse) {
    EXPECT_EQ(plan.weights + plan.experts, parameters);
  } else {
    EXPECT_EQ(plan.weights, parameters);
    EXPECT_EQ(plan.experts, rows);
  }
  EXPECT_EQ(plan.fused, slabs);
  EXPECT_EQ(plan.gradients, parameters + slabs);
  EXPECT_EQ(plan.moments, moments);
  double average = 0;
  if (ffn.kind != FfnKind::sparse) {
    Ema<float>(model).visit_state([&]<class Number>(const std::string&, std::span<Number> values) {
      if constexpr (std::same_as<Number, float>) average += static_cast<double>(values.size_bytes());
    });
    EXPECT_EQ(plan.average, average);
  }
  EXPECT_EQ(plan.bytes(), plan.weights + plan.experts + plan.fused + plan.gradients + plan.moments +
                              plan.average + plan.activations);
}

template <class Model>
void expect_counted(const Model& model, const FfnPlan& ffn = {}) {
  for (bool bf16_moments : {false, true}) expect_counted(model, ffn, bf16_moments);
}

/// A dense model, and models with each kind of experts made from it.
template <class Model>
void expect_all_counted(const Model& dense) {
  Rng rng(2);
  expect_counted(dense);
  expect_counted(upcycle(dense, StaticFusion<float>{}, {.experts = 3}, rng),
                 {.kind = FfnKind::fused, .experts = 3, .rule = RuleKind::fixed});
  expect_counted(upcycle(dense, {.experts = 5}, rng), {.kind = FfnKind::fused, .experts = 5});
  for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
    expect_counted(
        upcycle(dense, LearnedFusion<float>({.granularity = granularity}), {.experts = 4}, rng),
        {.kind = FfnKind::fused, .experts = 4, .rule = RuleKind::learned, .granularity = granularity});
  }
  const auto sparse = dense.transform_ffn([&](const FeedForward<float>& ffn, Index) {
    return SparseMoE<float>(ffn, {.experts = 6, .k = 2}, rng);
  });
  expect_counted(sparse, {.kind = FfnKind::sparse, .experts = 6, .k = 2});
}

TEST(MemoryPlan, CountsTheParametersAndMomentsOfAGpt) {
  Rng rng(1);
  expect_all_counted(Gpt<float>(gpt_config(Activation::gelu_tanh), rng));
  expect_all_counted(Gpt<float>(gpt_config(Activation::swiglu), rng));
}

TEST(MemoryPlan, CountsTheParametersAndMomentsOfAVit) {
  Rng rng(1);
  expect_all_counted(Vit<float>(vit_config(Pooling::cls), rng));
  expect_all_counted(Vit<float>(vit_config(Pooling::mean), rng));
}

TEST(MemoryPlan, CountsTheOperationsOfAStep) {
  const GptConfig config = gpt_config(Activation::gelu_tanh);
  const double pass = training_flops(config, 2, 9);
  const auto plan = [&](const FfnPlan& ffn, Index accumulate) {
    return plan_memory(config, ffn, {.pass = {.batch = 2}, .accumulate = accumulate});
  };
  EXPECT_EQ(plan({}, 1).flops_of_step, pass);
  EXPECT_EQ(plan({}, 3).flops_of_step, 3 * pass);
  EXPECT_EQ(plan({.kind = FfnKind::fused, .experts = 4}, 3).flops_of_step, 3 * pass + fuse_flops(config, 4));
  EXPECT_EQ(plan({.kind = FfnKind::sparse, .experts = 4, .k = 2}, 1).flops_of_step,
            training_flops(config, 2, 9, {.networks = 2, .router_outputs = 4}));
  EXPECT_EQ(plan_memory(vit_config(Pooling::cls), {}, {.pass = {.batch = 3}}).flops_of_step,
            training_flops(vit_config(Pooling::cls), 3));
  const MemoryPlan again = plan_memory(config, {}, {.pass = {.batch = 2, .recompute = true}});
  EXPECT_EQ(again.flops_of_step, pass + again.forward.blocks());
  EXPECT_LT(again.activations, plan({}, 1).activations);
  EXPECT_THROW(plan({}, 0), ConfigError);
}

TEST(MemoryPlan, IsPrintedInReadableUnits) {
  EXPECT_EQ(train::byte_text(0), "0 B");
  EXPECT_EQ(train::byte_text(1023), "1023 B");
  EXPECT_EQ(train::byte_text(1536), "1.5 KiB");
  EXPECT_EQ(train::byte_text(5 * 0x1p30), "5.0 GiB");
  MemoryPlan plan;
  plan.parameters = 1234567;
  plan.experts = 0x1p20;
  plan.moments = 0x1p21;
  plan.flops_of_step = 2.5e9;
  const std::string table = train::memory_table(plan);
  EXPECT_NE(table.find("parameters, trained                 1234567\n"), std::string::npos) << table;
  EXPECT_NE(table.find("experts                             1.0 MiB\n"), std::string::npos) << table;
  EXPECT_NE(table.find("memory in all                       3.0 MiB\n"), std::string::npos) << table;
  EXPECT_NE(table.find("FLOPs of one step                   2.5e+09\n"), std::string::npos) << table;
}

}  // namespace
}  // namespace exfusion
