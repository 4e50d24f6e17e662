#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/ops/silu.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Silu, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index size : {1, 3, 7, 17}) {
    const auto x = Parameter<double>::normal({2, size}, 2.0, rng);
    const auto result = testing::grad_check([&](const auto& ctx) { return silu(ctx, x); }, {x});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Silu, MatchesTheFormulaInSinglePrecision) {
  Rng rng(2);
  const auto x = testing::random_float({20001}, rng, 10.0);
  const auto y = silu(Context<float>{}, x);
  for (Index i = 0; i < x.size(); ++i) {
    const auto value = static_cast<double>(x.data()[i]);
    const double expected = value / (1 + std::exp(-value));
    ASSERT_NEAR(static_cast<double>(y.data()[i]), expected, 1e-6 * std::abs(expected));
  }
}

TEST(Silu, GoesToItsLimitsAndLetsNotANumberThrough) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto x = Parameter<float>::constant({3}, std::numeric_limits<float>::quiet_NaN());
  x.data()[0] = -infinity;
  x.data()[1] = infinity;
  const auto y = testing::run_backward<float>([&](const auto& ctx) { return silu(ctx, x); },
                                              std::vector<float>(3, 1.0F));
  EXPECT_EQ(y.data()[0], 0.0F);
  EXPECT_EQ(y.data()[1], infinity);
  EXPECT_EQ(x.grad()[0], 0.0F);
  EXPECT_EQ(x.grad()[1], 1.0F);
  EXPECT_TRUE(std::isnan(y.data()[2]));
  EXPECT_TRUE(std::isnan(x.grad()[2]));
}

}  // namespace
}  // namespace exfusion
