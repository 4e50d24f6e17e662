#include <gtest/gtest.h>

#include <exfusion/models/gpt.hpp>
#include <exfusion/models/vit.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "allocation_counter.hpp"
#include "fusion_support.hpp"

// Upcycling, training and collapsing the library's own models.

namespace exfusion {
namespace {

template <Scalar T>
Gpt<T> small_gpt(Rng& rng, Activation activation = Activation::gelu_tanh) {
  return Gpt<T>(
      {.vocab_size = 7, .context = 5, .layers = 2, .heads = 2, .d_model = 8, .activation = activation}, rng);
}

template <Scalar T>
Vit<T> small_vit(Rng& rng) {
  return Vit<T>(
      {.image_size = 4, .channels = 1, .patch_size = 2, .classes = 3, .layers = 2, .heads = 2, .d_model = 8},
      rng);
}

/// A batch of two for either model, and its targets.
template <Scalar T>
struct TokenBatch {
  IntTensor input{{2, 5}};
  IntTensor targets{{2, 5}};

  explicit TokenBatch(Rng& rng) {
    for (auto* tensor : {&input, &targets}) {
      for (auto& token : tensor->values()) token = static_cast<std::int32_t>(rng.below(7));
    }
  }
};

template <Scalar T>
struct ImageBatch {
  Tensor<T> input = Tensor<T>::empty({2, 1, 4, 4});
  IntTensor targets{{2}};

  explicit ImageBatch(Rng& rng) {
    rng.fill_normal(input.values(), 0.0, 1.0);
    for (auto& label : targets.values()) label = static_cast<std::int32_t>(rng.below(3));
  }
};

template <class Batch, Scalar T, class Model>
void train_step(const Model& model, AdamW<T>& optimizer, Tape<T>& tape, const Batch& batch) {
  const Context<T> ctx{.tape = &tape, .training = true};
  tape.backward(cross_entropy(ctx, model(ctx, batch.input), batch.targets));
  optimizer.step();
  tape.clear();
}

/// Trains the upcycled model; the collapsed one must then give its logits, and look like the dense one.
template <class Batch, Scalar T, class Dense, class Rule>
void expect_exact_collapse(const Dense& dense, const Rule& rule, Rng& rng) {
  const auto model = upcycle(dense, rule, {.experts = 3, .init = ZeroSum{1.0}}, rng);
  AdamW<T> optimizer(model, {.lr = 0.01});
  Tape<T> tape;
  for (int step = 0; step < 4; ++step) train_step(model, optimizer, tape, Batch(rng));
  const Dense exported = collapse(model);
  const Batch batch(rng);
  EXPECT_TRUE(testing::identical(model({}, batch.input), exported({}, batch.input)));
  EXPECT_FALSE(testing::identical(dense({}, batch.input), exported({}, batch.input)));
  const auto want = collect_parameters<T>(dense).parameters, got = collect_parameters<T>(exported).parameters;
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].name, want[i].name);
    EXPECT_EQ(got[i].tensor.shape(), want[i].tensor.shape());
    EXPECT_EQ(got[i].options.decay, want[i].options.decay) << want[i].name;
  }
}

template <Scalar T, class Check>
void for_every_rule(const Check& check) {
  check(StaticFusion<T>{});
  check(StaticFusion<T>({.weights = {0.6, 0.3, 0.1}}));
  for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
    check(LearnedFusion<T>({.granularity = granularity}));
    check(LearnedFusion<T>({.form = LearnedForm::free, .granularity = granularity}));
  }
  check(MemoryBankFusion<T>{});
  check(MemoryBankFusion<T>({.bank = {.memory = BankMemory::window}}));
  check(testing::GatedRule<T>{});
}

template <class T>
class FusedGptVit : public ::testing::Test {};

using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(FusedGptVit, Scalars);

TYPED_TEST(FusedGptVit, CollapsedGptGivesTheSameLogitsToTheBitForEveryRule) {
  using T = TypeParam;
  Rng rng(1);
  for_every_rule<T>([&](const auto& rule) {
    expect_exact_collapse<TokenBatch<T>, T>(small_gpt<T>(rng), rule, rng);
    expect_exact_collapse<TokenBatch<T>, T>(small_gpt<T>(rng, Activation::swiglu), rule, rng);
  });
}

TYPED_TEST(FusedGptVit, CollapsedVitGivesTheSameLogitsToTheBitForEveryRule) {
  using T = TypeParam;
  Rng rng(2);
  for_every_rule<T>(
      [&](const auto& rule) { expect_exact_collapse<ImageBatch<T>, T>(small_vit<T>(rng), rule, rng); });
}

TYPED_TEST(FusedGptVit, DefaultRuleIsStraightThroughInGptAndRoutedInVit) {
  using T = TypeParam;
  Rng rng(3);
  EXPECT_EQ(upcycle(small_gpt<T>(rng), {}, rng).blocks[0].ffn.rule.options.value,
            BankValue::straight_through);
  EXPECT_EQ(upcycle(small_vit<T>(rng), {}, rng).blocks[0].ffn.rule.options.value, BankValue::routed);
}

TYPED_TEST(FusedGptVit, TrainingStepsAllocateNothingAfterTheFirst) {
  using T = TypeParam;
  Rng rng(4);
  const auto check = [&](const auto& model, const auto& batch) {
    AdamW<T> optimizer(model);
    Tape<T> tape;
    for (int step = 0; step < 2; ++step) train_step(model, optimizer, tape, batch);
    const long before = testing::allocation_count;
    for (int step = 0; step < 2; ++step) train_step(model, optimizer, tape, batch);
    EXPECT_EQ(testing::allocation_count - before, 0);
  };
  for_every_rule<T>([&](const auto& rule) {
    check(upcycle(small_gpt<T>(rng), rule, {.experts = 3}, rng), TokenBatch<T>(rng));
    check(upcycle(small_vit<T>(rng), rule, {.experts = 3}, rng), ImageBatch<T>(rng));
  });
}

TEST(FusedGptVitGradient, MatchesDifferencesThroughTheWholeModel) {
  Rng rng(5);
  const auto check = [](const auto& model, const auto& batch) {
    const auto result = testing::grad_check(
        [&](const Context<double>& ctx) {
          return cross_entropy(ctx, model(ctx, batch.input), batch.targets);
        },
        model);
    EXPECT_TRUE(result) << result;
  };
  const auto scatter = [](const auto& model, Rng& generator) {
    for (const auto& parameter : collect_parameters<double>(model).parameters) {
      for (double& value : parameter.tensor.values()) value += 0.3 * generator.normal();
    }
  };
  const auto dense_gpt =
      Gpt<double>({.vocab_size = 7, .context = 5, .layers = 1, .heads = 2, .d_model = 6, .d_ff = 7}, rng);
  const auto gpt = upcycle(dense_gpt, LearnedFusion<double>{}, {.experts = 3, .init = ZeroSum{2.0}}, rng);
  scatter(gpt, rng);
  check(gpt, TokenBatch<double>(rng));

  auto config = small_vit<double>(rng).config;
  config.layers = 1;
  config.d_ff = 7;
  const auto vit = upcycle(Vit<double>(config, rng), {.experts = 3, .init = ZeroSum{2.0}}, rng);
  scatter(vit, rng);
  check(vit, ImageBatch<double>(rng));
}

}  // namespace
}  // namespace exfusion
