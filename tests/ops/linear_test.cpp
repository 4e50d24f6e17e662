#include <gtest/gtest.h>

#include <exfusion/ops/linear.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

TEST(Linear, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 7, 17}) {
    for (Index d_in : {1, 3, 17}) {
      for (Index d_out : {1, 7}) {
        const auto x = Parameter<double>::normal({rows, d_in}, 1.0, rng);
        const auto weight = Parameter<double>::normal({d_out, d_in}, 1.0, rng);
        const auto bias = Parameter<double>::normal({d_out}, 1.0, rng);
        const auto result = testing::grad_check(
            [&](const Context<double>& ctx) { return linear(ctx, x, weight, bias); }, {x, weight, bias});
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

TEST(Linear, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  const auto weight = Tensor<float>::zeros({3, 64});
  try {
    linear(ctx, Tensor<float>::zeros({8, 16, 63}), weight);
    FAIL() << "a wrong last axis was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[linear] x is [8, 16, 63]: its last axis must be d_in = 64");
  }
  EXPECT_THROW(linear(ctx, Tensor<float>::zeros({2, 64}), weight, Tensor<float>::zeros({4})), ShapeError);
  EXPECT_THROW(linear(ctx, Tensor<float>::zeros({2, 64}), Tensor<float>::zeros({64})), ShapeError);
}

}  // namespace
}  // namespace exfusion
