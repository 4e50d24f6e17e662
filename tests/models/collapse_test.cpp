#include <gtest/gtest.h>

#include <exfusion/optim/adamw.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

/// Trains a few steps; each of two micro-batches where the rule allows it.
template <Scalar T, class Model>
void train(const Model& model, Rng& rng, bool accumulate, Index d_model = 6) {
  AdamW<T> optimizer(model, {.lr = 0.02});
  Tape<T> tape;
  for (int step = 0; step < 4; ++step) {
    for (int part = 0; part < (accumulate ? 2 : 1); ++part) {
      testing::pass<T>(model, Parameter<T>::normal({2, 3, d_model}, 1.0, rng), tape);
    }
    optimizer.step();
  }
}

template <Scalar T, bool causal, class Rule>
void expect_equal_logits(const Rule& rule, const ExpertInit& init, Activation activation) {
  Rng rng(1);
  const auto dense = testing::tiny_model<T, causal>(rng, 2, 6, activation);
  const auto model = upcycle(dense, rule, {.experts = 3, .init = init}, rng);
  train<T>(model, rng, causal);
  const auto exported = collapse(model);
  static_assert(std::is_same_v<decltype(exported), const testing::TinyModel<T, FeedForward<T>, causal>>);
  const auto x = Parameter<T>::normal({4, 5, 6}, 1.0, rng);
  const auto logits = exported({}, x);
  EXPECT_TRUE(testing::identical(model({}, x), logits));
  EXPECT_FALSE(testing::identical(dense({}, x), logits)) << "training changed nothing";

  Tape<T> tape;
  const Context<T> training{.tape = &tape, .training = true};
  const auto loss = testing::weighted_sum(training, model(training, x));
  EXPECT_TRUE(testing::identical(model({}, x), logits)) << "while a training pass is on a tape";
  tape.backward(loss);
  tape.clear();
  EXPECT_TRUE(testing::identical(collapse(model)({}, x), logits)) << "while gradients are pending";
}

template <class T>
class Collapse : public ::testing::Test {};

using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Collapse, Scalars);

TYPED_TEST(Collapse, LogitsEqualTheFusedModelsToTheBitForEveryRuleAfterTraining) {
  using T = TypeParam;
  const auto check = [](const auto& rule) {
    expect_equal_logits<T, true>(rule, ZeroSum{1.0}, Activation::gelu_tanh);
    expect_equal_logits<T, true>(rule, Drop{}, Activation::swiglu);
  };
  check(StaticFusion<T>{});
  check(StaticFusion<T>({.weights = {0.6, 0.3, 0.1}}));
  for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
    check(LearnedFusion<T>({.granularity = granularity, .lr_multiplier = 10}));
    check(LearnedFusion<T>({.form = LearnedForm::free, .granularity = granularity}));
  }
  check(MemoryBankFusion<T>{});
  check(MemoryBankFusion<T>({.bank = {.memory = BankMemory::window, .window = 3}}));
  check(testing::GatedRule<T>{});
  expect_equal_logits<T, false>(MemoryBankFusion<T>{}, ZeroSum{1.0}, Activation::gelu_erf);
  expect_equal_logits<T, false>(MemoryBankFusion<T>{}, Copies{}, Activation::gelu_erf);
}

TYPED_TEST(Collapse, ModelHasTheDenseModelsNamesShapesAndDecay) {
  using T = TypeParam;
  Rng rng(2);
  for (Activation activation : {Activation::gelu_tanh, Activation::swiglu}) {
    const auto dense = testing::tiny_model<T>(rng, 2, 6, activation);
    const auto exported = collapse(upcycle(dense, {.init = ZeroSum{}}, rng));
    const auto want = collect_parameters<T>(dense), got = collect_parameters<T>(exported);
    EXPECT_TRUE(got.slabs.empty() && got.states.empty());
    ASSERT_EQ(got.parameters.size(), want.parameters.size());
    for (std::size_t i = 0; i < want.parameters.size(); ++i) {
      EXPECT_EQ(got.parameters[i].name, want.parameters[i].name);
      EXPECT_EQ(got.parameters[i].tensor.shape(), want.parameters[i].tensor.shape());
      EXPECT_EQ(got.parameters[i].options.decay, want.parameters[i].options.decay);
      EXPECT_FALSE(got.parameters[i].options.fusion);
    }
  }
}

TYPED_TEST(Collapse, UpcycledCopiesCollapseToTheDenseModelItself) {
  using T = TypeParam;
  Rng rng(3);
  const auto dense = testing::tiny_model<T>(rng);
  const auto exported = collapse(upcycle(dense, {.experts = 4}, rng));
  const auto want = collect_parameters<T>(dense).parameters, got = collect_parameters<T>(exported).parameters;
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_TRUE(testing::identical(got[i].tensor, want[i].tensor)) << want[i].name;
    EXPECT_NE(got[i].tensor.data(), want[i].tensor.data());
  }
}

}  // namespace
}  // namespace exfusion
