#include <cmath>

#include <gtest/gtest.h>

#include <exfusion/ops/swiglu.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Swiglu, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index size : {1, 3, 7, 17}) {
    const auto gate = Parameter<double>::normal({2, size}, 2.0, rng);
    const auto up = Parameter<double>::normal({2, size}, 1.0, rng);
    auto result = testing::grad_check([&](const auto& ctx) { return swiglu(ctx, gate, up); }, {gate, up});
    EXPECT_TRUE(result) << result;
    result = testing::grad_check([&](const auto& ctx) { return swiglu(ctx, gate, gate); }, {gate});
    EXPECT_TRUE(result) << "of one tensor: " << result;
  }
}

TEST(Swiglu, MatchesTheFormulaInSinglePrecision) {
  Rng rng(2);
  const auto gate = testing::random_float({20001}, rng, 5.0), up = testing::random_float({20001}, rng);
  const auto y = swiglu(Context<float>{}, gate, up);
  for (Index i = 0; i < y.size(); ++i) {
    const auto g = static_cast<double>(gate.data()[i]);
    const double expected = g / (1 + std::exp(-g)) * static_cast<double>(up.data()[i]);
    ASSERT_NEAR(static_cast<double>(y.data()[i]), expected, 1e-6 * std::abs(expected));
  }
}

TEST(Swiglu, NamesShapesThatDiffer) {
  try {
    swiglu(Context<float>{}, Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({2, 4}));
    FAIL() << "different shapes were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[swiglu] gate is [2, 3] and up is [2, 4]: they must have one shape");
  }
}

}  // namespace
}  // namespace exfusion
