#include <cmath>
#include <limits>
#include <numbers>

#include <gtest/gtest.h>

#include <exfusion/ops/gelu.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

double naive_gelu(double x, GeluForm form) {
  if (form == GeluForm::erf) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

TEST(Gelu, GradientMatchesDifferencesForBothFormsAndOddSizes) {
  Rng rng(1);
  for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
    for (Index size : {1, 3, 7, 17}) {
      const auto x = Parameter<double>::normal({2, size}, 1.5, rng);
      const auto result =
          testing::grad_check([&](const Context<double>& ctx) { return gelu(ctx, x, form); }, {x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(Gelu, MatchesTheFormulaInBothPrecisions) {
  const Index size = 40001;
  auto x = Tensor<double>::empty({size});
  for (Index i = 0; i < size; ++i) x.data()[i] = static_cast<double>(i - 20000) * 1e-3;
  const auto single = testing::to_float(x);
  for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
    const auto y = gelu(Context<double>{}, x, form);
    const auto y_single = gelu(Context<float>{}, single, form);
    for (Index i = 0; i < size; ++i) {
      const double expected = naive_gelu(x.data()[i], form);
      ASSERT_NEAR(y.data()[i], expected, 1e-14 * (1 + std::abs(expected))) << x.data()[i];
      ASSERT_NEAR(static_cast<double>(y_single.data()[i]), expected, 1e-6 * (1 + std::abs(expected)))
          << x.data()[i];
    }
  }
}

TEST(Gelu, GradientInSinglePrecisionMatchesDoublePrecision) {
  Rng rng(2);
  const auto x = Parameter<double>::normal({20000}, 3.0, rng);
  const auto single = testing::to_float(x);
  for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
    x.gradient()->clear();
    testing::run_backward<double>([&](const auto& ctx) { return gelu(ctx, x, form); },
                                  std::vector<double>(20000, 1.0));
    testing::expect_same_bits_for_all_thread_counts([&] {
      single.gradient()->clear();
      testing::run_backward<float>([&](const auto& ctx) { return gelu(ctx, single, form); },
                                   std::vector<float>(20000, 1.0F));
      return testing::copy_of(single.grad());
    });
    testing::expect_close(single.grad(), x.grad(), 2e-6);
  }
}

TEST(Gelu, GoesToItsLimitsAndLetsNotANumberThrough) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto x = Parameter<float>::constant({5}, std::numeric_limits<float>::quiet_NaN());
  const float limits[] = {-infinity, infinity, -1e30F, 1e30F};
  std::copy_n(limits, 4, x.data());
  const float values[] = {0, infinity, 0, 1e30F}, slopes[] = {0, 1, 0, 1};
  for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
    x.gradient()->clear();
    const auto y = testing::run_backward<float>([&](const auto& ctx) { return gelu(ctx, x, form); },
                                                std::vector<float>(5, 1.0F));
    for (std::size_t i = 0; i < 4; ++i) {
      if (std::isinf(values[i])) {
        EXPECT_EQ(y.values()[i], values[i]);
      } else {
        EXPECT_NEAR(y.values()[i], values[i], 1e-6F * (1 + values[i])) << limits[i];
      }
      EXPECT_NEAR(x.grad()[i], slopes[i], 1e-6F) << limits[i];
    }
    EXPECT_TRUE(std::isnan(y.data()[4]));
    EXPECT_TRUE(std::isnan(x.grad()[4]));
  }
}

}  // namespace
}  // namespace exfusion
