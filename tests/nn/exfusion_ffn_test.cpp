#include <gtest/gtest.h>

#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

static_assert(FusionRule<StaticFusion<float>, float>);
static_assert(FusionRule<LearnedFusion<double>, double>);
static_assert(FusionRule<MemoryBankFusion<float>, float>);
static_assert(Ffn<ExFusionFFN<float, LearnedFusion<float>>, float>);

TEST(ExFusionFFN, Smoke) {
  Rng rng(1);
  const FeedForward<double> dense({5, 7, Activation::gelu_tanh, 0.5, 0.5}, rng);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  for (ExpertInit init : {ExpertInit(Copies{}), ExpertInit(ZeroSum{1.0}), ExpertInit(Drop{})}) {
    const auto fused = upcycle_feed_forward(dense, LearnedFusion<double>{}, true, {4, init}, rng);
    const auto y = fused(Context<double>{}, x);
    const auto want = dense(Context<double>{}, x);
    for (Index i = 0; i < y.size(); ++i) EXPECT_NEAR(y.data()[i], want.data()[i], 1e-14);
    const auto result =
        testing::grad_check([&](const Context<double>& ctx) { return fused(ctx, x); }, fused, {x});
    EXPECT_TRUE(result) << result;
  }
  const auto bank = upcycle_feed_forward(dense, MemoryBankFusion<double>{}, false, {4, ZeroSum{1.0}}, rng);
  const auto result =
      testing::grad_check([&](const Context<double>& ctx) { return bank(ctx, x); }, bank, {x});
  EXPECT_TRUE(result) << result;
}

}  // namespace
}  // namespace exfusion
