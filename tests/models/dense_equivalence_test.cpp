#include <gtest/gtest.h>

#include <exfusion/optim/adamw.hpp>

#include "fusion_support.hpp"

// docs/method.md, "What follows by algebra": the fused model and the dense model that it amounts to, trained
// side by side in double.

namespace exfusion {
namespace {

constexpr AdamWOptions options{.lr = 0.01, .weight_decay = 0.1, .groups = {}};

/// Trains both models on the same batches; after each step all shared parameters and the fused networks must
/// agree.
template <class Fused, class Reference>
void expect_equal_training(const Fused& fused, const Reference& reference, Rng& rng,
                           Index micro_batches = 1) {
  AdamW<double> fused_optimizer(fused, options), reference_optimizer(reference, options);
  Tape<double> tape;
  for (int step = 0; step < 12; ++step) {
    for (Index part = 0; part < micro_batches; ++part) {
      const auto x = Parameter<double>::normal({2, 3, 6}, 1.0, rng);
      testing::pass<double>(fused, x, tape, 0.5);
      testing::pass<double>(reference, x, tape, 0.5);
    }
    fused_optimizer.step();
    reference_optimizer.step();
    const auto got = collapse(fused);
    const auto parameters = collect_parameters<double>(got).parameters;
    const auto expect_agreement = [&](const auto& dense) {
      const auto want = collect_parameters<double>(dense).parameters;
      ASSERT_EQ(parameters.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        testing::expect_near<double>(parameters[i].tensor, want[i].tensor, 1e-12, want[i].name);
      }
    };
    if constexpr (requires { reference.ffns[0].rule; }) {
      expect_agreement(collapse(reference));
    } else {
      expect_agreement(reference);
    }
  }
}

bool experts_agree(const ExpertSlab<double>& slab) {
  for (Index i = 1; i < slab.experts(); ++i) {
    if (!std::ranges::equal(slab.expert(0), slab.expert(i))) return false;
  }
  return true;
}

TEST(DenseEquivalence, LearnedSoftmaxWeightsWithCopiesAreExactlyDense) {
  for (Index experts : {2, 3, 4, 7}) {
    for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
      Rng rng(1);
      const auto dense = testing::tiny_model<double>(rng);
      const auto fused =
          upcycle(dense, LearnedFusion<double>({.granularity = granularity, .lr_multiplier = 100}),
                  {.experts = experts}, rng);
      expect_equal_training(fused, dense, rng);
      EXPECT_TRUE(experts_agree(fused.ffns[0].experts));
      for (double logit : fused.ffns[0].rule.learned.values()) EXPECT_NEAR(logit, 0, 1e-12);
    }
  }
}

TEST(DenseEquivalence, FreeWeightsWithCopiesAreOneExpertWithALearnedGain) {
  for (Index experts : {3, 4}) {
    Rng rng(2);
    const auto dense = testing::tiny_model<double>(rng);
    const auto fused =
        upcycle(dense, LearnedFusion<double>({.form = LearnedForm::free}), {.experts = experts}, rng);
    const auto gain = upcycle(
        dense,
        LearnedFusion<double>({.form = LearnedForm::free, .lr_multiplier = static_cast<double>(experts)}),
        {.experts = 1}, rng);
    expect_equal_training(fused, gain, rng);
    EXPECT_GT(std::abs(gain.ffns[0].rule.learned.data()[0] - 1), 0.01) << "the gain is learned";
  }
}

TEST(DenseEquivalence, ABankWithCopiesAndAZeroRouterStaysDenseForEver) {
  for (Index experts : {3, 4}) {
    Rng rng(3);
    const MemoryBankFusion<double> rule({.router_std = 0});
    const auto dense = testing::tiny_model<double>(rng);
    const auto causal = upcycle(dense, rule, {.experts = experts}, rng);
    expect_equal_training(causal, dense, rng, 2);
    EXPECT_TRUE(experts_agree(causal.ffns[0].experts));

    const auto image_like = testing::tiny_model<double, false>(rng);
    const auto routed = upcycle(image_like, rule, {.experts = experts}, rng);
    expect_equal_training(routed, image_like, rng);
    for (double value : routed.ffns[0].rule.router.weight.values()) EXPECT_NEAR(value, 0, 1e-12);
  }
}

TEST(DenseEquivalence, ABanksRandomRouterBreaksTheSymmetryOfCopies) {
  const auto check = [](const auto& model, Rng& rng) {
    AdamW<double> optimizer(model, options);
    Tape<double> tape;
    for (int step = 0; step < 12; ++step) {
      testing::pass<double>(model, Parameter<double>::normal({2, 3, 6}, 1.0, rng), tape);
      optimizer.step();
    }
    EXPECT_FALSE(experts_agree(model.ffns[0].experts));
  };
  Rng rng(4);
  check(upcycle(testing::tiny_model<double>(rng), {}, rng), rng);
  check(upcycle(testing::tiny_model<double, false>(rng), {}, rng), rng);
}

TEST(DenseEquivalence, ZeroSumKeepsTheDenseTrainingOfStaticWeights) {
  for (const ExpertInit& init : {ExpertInit(ZeroSum{std::sqrt(2.0)}), ExpertInit(Drop{0.5})}) {
    Rng rng(5);
    const auto dense = testing::tiny_model<double>(rng);
    const auto fused =
        upcycle(dense, StaticFusion<double>({.weights = {0.5, 0.2, 0.3}}), {.experts = 3, .init = init}, rng);
    expect_equal_training(fused, dense, rng);
    EXPECT_FALSE(experts_agree(fused.ffns[0].experts));
  }
}

}  // namespace
}  // namespace exfusion
