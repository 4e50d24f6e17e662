#include <cmath>

#include <gtest/gtest.h>

#include <exfusion/ops/rms_norm.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(RmsNorm, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 7, 17}) {
    for (Index width : {1, 3, 7, 17}) {
      const auto x = Parameter<double>::normal({rows, width}, 2.0, rng);
      const auto weight = Parameter<double>::normal({width}, 1.0, rng);
      const auto result =
          testing::grad_check([&](const auto& ctx) { return rms_norm(ctx, x, weight, 1e-1); }, {x, weight});
      EXPECT_TRUE(result) << "rows " << rows << " width " << width << ": " << result;
    }
  }
}

TEST(RmsNorm, MatchesTheFormulaInSinglePrecision) {
  Rng rng(2);
  for (Index width : {1, 31, 64, 768}) {
    const auto x = testing::random_float({3, 41, width}, rng, 3.0);
    const auto weight = testing::random_float({width}, rng);
    const auto y = rms_norm(Context<float>{}, x, weight, 1e-5);
    EXPECT_EQ(y.shape(), x.shape());
    for (Index row = 0; row < 123; ++row) {
      double squares = 0;
      for (Index i = 0; i < width; ++i)
        squares += std::pow(static_cast<double>(x.data()[row * width + i]), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
      for (Index i = 0; i < width; ++i) {
        const double expected =
            static_cast<double>(x.data()[row * width + i]) * scale * static_cast<double>(weight.data()[i]);
        ASSERT_NEAR(static_cast<double>(y.data()[row * width + i]), expected,
                    1e-6 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(RmsNorm, GradientsAreTheSameForAllThreadCountsAndMatchDoublePrecision) {
  Rng rng(4);
  const Index rows = 1000, width = 130;
  const auto x = Parameter<double>::normal({rows, width}, 1.0, rng);
  const auto weight = Parameter<double>::normal({width}, 1.0, rng);
  const auto x_single = testing::to_float(x), weight_single = testing::to_float(weight);
  const auto dy = testing::random_values<float>(rows * width, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    x_single.gradient()->clear();
    weight_single.gradient()->clear();
    testing::run_backward<float>(
        [&](const auto& ctx) { return rms_norm(ctx, x_single, weight_single, 1e-5); }, dy);
    auto all = testing::copy_of(x_single.grad());
    all.insert(all.end(), weight_single.grad().begin(), weight_single.grad().end());
    return all;
  });
  testing::run_backward<double>([&](const auto& ctx) { return rms_norm(ctx, x, weight, 1e-5); },
                                std::vector<double>(dy.begin(), dy.end()));
  testing::expect_close(x_single.grad(), x.grad(), 5e-6);
  testing::expect_close(weight_single.grad(), weight.grad(), 5e-5);
}

TEST(RmsNorm, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  try {
    rms_norm(ctx, Tensor<float>::zeros({2, 5}), Tensor<float>::zeros({4}), 1e-5);
    FAIL() << "a weight of the wrong size was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[rms_norm] weight is [4]: it must be [D] = [5]");
  }
  EXPECT_THROW(rms_norm(ctx, Tensor<float>::zeros({2, 0}), Tensor<float>::zeros({0}), 1e-5), ShapeError);
  EXPECT_THROW(rms_norm(ctx, Tensor<float>::zeros({}), Tensor<float>::zeros({1}), 1e-5), ShapeError);
}

}  // namespace
}  // namespace exfusion
