#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>
#include <exfusion/train/activation_plan.hpp>

namespace exfusion {
namespace {

using train::activation_bytes;
using train::FfnKind;
using train::FfnPlan;
using train::RuleKind;

constexpr Index batch = 3;

GptConfig gpt_config(Activation activation = Activation::gelu_tanh, double dropout = 0) {
  return {.vocab_size = 50,
          .context = 40,
          .layers = 3,
          .heads = 4,
          .d_model = 64,
          .d_ff = 224,
          .dropout = dropout,
          .activation = activation};
}

VitConfig vit_config(Pooling pooling, double drop_path = 0, double dropout = 0) {
  return {.image_size = 24,
          .patch_size = 4,
          .classes = 10,
          .layers = 3,
          .heads = 2,
          .d_model = 64,
          .dropout = dropout,
          .drop_path = drop_path,
          .pooling = pooling};
}

IntTensor random_integers(Shape shape, Index below, Rng& rng) {
  IntTensor result(shape);
  for (std::int32_t& value : result.values()) value = static_cast<std::int32_t>(rng.below(below));
  return result;
}

/// What the tape's arenas handed out in one pass of `model`.
template <class Model>
double real_bytes(Model model, bool recompute, Precision precision) {  // without earlier gradients
  Rng rng(1);
  Tape<float> tape;
  const Context<float> ctx{
      .tape = &tape, .rng = &rng, .training = true, .recompute = recompute, .precision = precision};
  if constexpr (Model::causal) {
    const IntTensor tokens = random_integers({batch, 40}, 50, rng);
    tape.backward(model.loss(ctx, tokens, tokens));
  } else {
    const auto images = Tensor<float>::zeros({batch, 3, 24, 24});
    tape.backward(cross_entropy(ctx, model(ctx, images), random_integers({batch}, 10, rng)));
  }
  return static_cast<double>(tape.peak_bytes());
}

/// The plan leaves out the tape's records: it is never above, and below by 2 % at most.
template <class Model>
void expect_planned(const Model& model, const FfnPlan& ffn = {}) {
  for (const auto& [recompute, precision] : {std::pair{false, Precision::fp32},
                                             {true, Precision::fp32},
                                             {false, Precision::bf16},
                                             {true, Precision::bf16}}) {
    const double planned =
        activation_bytes(model.config, ffn, {.batch = batch, .recompute = recompute, .precision = precision});
    const double real = real_bytes(model, recompute, precision);
    EXPECT_LE(planned, real) << recompute << (precision == Precision::bf16);
    EXPECT_GE(planned, 0.98 * real) << recompute << (precision == Precision::bf16);
  }
}

template <class Model>
auto fused(const Model& dense) {
  Rng rng(3);
  return upcycle(dense, {.experts = 4}, rng);
}

template <class Model>
auto sparse(const Model& dense, Index experts, Index k) {
  Rng rng(4);
  return dense.transform_ffn([&](const FeedForward<float>& ffn, Index) {
    return SparseMoE<float>(ffn, {.experts = experts, .k = k}, rng);
  });
}

constexpr FfnPlan bank_of_four{.kind = FfnKind::fused, .experts = 4};

TEST(ActivationPlan, IsWhatTheArenaHandsOutForAGpt) {
  Rng rng(2);
  for (Activation activation : {Activation::gelu_tanh, Activation::swiglu}) {
    for (double dropout : {0.0, 0.1}) {
      const Gpt<float> dense(gpt_config(activation, dropout), rng);
      expect_planned(dense);
      expect_planned(fused(dense), bank_of_four);
      expect_planned(sparse(dense, 8, 2), {.kind = FfnKind::sparse, .experts = 8, .k = 2});
      expect_planned(sparse(dense, 3, 1), {.kind = FfnKind::sparse, .experts = 3, .k = 1});
    }
  }
}

TEST(ActivationPlan, IsWhatTheArenaHandsOutForAVit) {
  Rng rng(2);
  for (Pooling pooling : {Pooling::cls, Pooling::mean}) {
    for (double drop : {0.0, 0.1}) {
      const Vit<float> dense(vit_config(pooling, drop, drop / 2), rng);
      expect_planned(dense);
      expect_planned(fused(dense), bank_of_four);
      expect_planned(sparse(dense, 8, 2), {.kind = FfnKind::sparse, .experts = 8, .k = 2});
    }
  }
  expect_planned(Vit<float>(vit_config(Pooling::cls, 0.1, 0), rng));
}

TEST(ActivationPlan, TakesGradientsOfOneSizeOnce) {
  Rng rng(2);
  for (Index d_ff : {64, 192}) {  // as wide as the stream, as wide as q, k and v
    GptConfig config = gpt_config();
    config.d_ff = d_ff;
    expect_planned(Gpt<float>(config, rng));
  }
}

TEST(ActivationPlan, HoldsNoMoreLogitsThanOneBlockOfThem) {
  GptConfig config = gpt_config();
  config.vocab_size = 1 << 20;
  const double few = activation_bytes(config, {}, {.batch = 1, .tokens = 16});
  const double many = activation_bytes(config, {}, {.batch = 1, .tokens = 32});
  EXPECT_GT(few, 4 * 0x1p24);
  EXPECT_LT(many - few, 1e6);
}

TEST(ActivationPlan, RefusesSizesThatCannotWork) {
  EXPECT_THROW(activation_bytes(gpt_config(), {}, {.batch = 0}), ConfigError);
  EXPECT_THROW(activation_bytes(gpt_config(), {}, {.batch = 1, .tokens = -1}), ConfigError);
  EXPECT_THROW(activation_bytes(vit_config(Pooling::cls), {}, {.batch = 0}), ConfigError);
  EXPECT_THROW(activation_bytes(gpt_config(), {.experts = 0}, {}), ConfigError);
  EXPECT_THROW(activation_bytes(gpt_config(), {.experts = 65537}, {}), ConfigError);
  EXPECT_THROW(activation_bytes(gpt_config(), {.experts = 2, .k = 3}, {}), ConfigError);
  EXPECT_THROW(activation_bytes(GptConfig{}, {}, {}), ConfigError);
}

}  // namespace
}  // namespace exfusion
