#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/ops/softmax.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Softmax, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 7}) {
    for (Index width : {1, 3, 7, 17}) {
      const auto z = Parameter<double>::normal({rows, width}, 1.5, rng);
      const auto result = testing::grad_check([&](const auto& ctx) { return softmax(ctx, z); }, {z});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(Softmax, MatchesTheFormulaInSinglePrecision) {
  Rng rng(2);
  for (Index width : {1, 4, 31, 33, 1000}) {
    const auto z = testing::random_float({5, 7, width}, rng, 5.0);
    const auto p = softmax(Context<float>{}, z);
    EXPECT_EQ(p.shape(), z.shape());
    for (Index row = 0; row < 35; ++row) {
      const float* from = z.data() + row * width;
      const auto largest = static_cast<double>(*std::max_element(from, from + width));
      double sum = 0;
      for (Index i = 0; i < width; ++i) sum += std::exp(static_cast<double>(from[i]) - largest);
      for (Index i = 0; i < width; ++i) {
        const double below = static_cast<double>(from[i]) - largest;
        const double expected = std::exp(below) / sum;
        const double rounding = 6e-8 * std::abs(below);  // of the difference, in single precision
        ASSERT_NEAR(static_cast<double>(p.data()[row * width + i]), expected, (1e-6 + rounding) * expected);
      }
    }
  }
}

TEST(Softmax, IsStableForLargeNumbersAndMaskedOnes) {
  const float infinity = std::numeric_limits<float>::infinity();
  const auto z = Tensor<float>::from({2, 3}, {1e30F, 1e30F, -1e30F, -infinity, 3.0F, 3.0F});
  const auto p = softmax(Context<float>{}, z);
  const float expected[] = {0.5F, 0.5F, 0.0F, 0.0F, 0.5F, 0.5F};
  for (Index i = 0; i < 6; ++i) EXPECT_EQ(p.data()[i], expected[i]);
}

TEST(Softmax, LetsNotANumberThrough) {
  const auto z = Tensor<float>::from({1, 3}, {0.0F, std::numeric_limits<float>::quiet_NaN(), 1.0F});
  const auto p = softmax(Context<float>{}, z);
  for (float value : p.values()) EXPECT_TRUE(std::isnan(value));
}

TEST(Softmax, IsTheSameForAllThreadCounts) {
  Rng rng(3);
  const auto z = testing::random_float({900, 65}, rng);
  const auto dy = testing::random_values<float>(z.size(), rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    z.gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return softmax(ctx, z); }, dy);
    return testing::copy_of(z.grad());
  });
}

TEST(Softmax, RejectsAnEmptyLastAxis) {
  const Context<float> ctx;
  EXPECT_THROW(softmax(ctx, Tensor<float>::zeros({3, 0})), ShapeError);
  EXPECT_THROW(softmax(ctx, Tensor<float>::zeros({})), ShapeError);
}

}  // namespace
}  // namespace exfusion
