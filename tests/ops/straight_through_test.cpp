#include <gtest/gtest.h>

#include <exfusion/ops/straight_through.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

TEST(StraightThrough, HasTheValueToTheBitAndTheGradientOfX) {
  for (Index size : {1, 3, 7, 17}) {
    Rng rng(1);
    const auto value = Parameter<double>::normal({2, size}, 1.0, rng);
    const auto x = Parameter<double>::normal({2, size}, 1.0, rng);
    Tape<double> tape;
    const Context<double> ctx{.tape = &tape};
    const auto y = straight_through(ctx, value, x);
    EXPECT_TRUE(testing::identical<double>(y, value));
    tape.backward(testing::weighted_sum(ctx, y));
    for (Index i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x.grad()[static_cast<std::size_t>(i)], testing::WeightedSumNode<double>::factor(i));
    }
    EXPECT_FALSE(value.gradient()->defined);
  }
}

TEST(StraightThrough, GradientMatchesDifferencesWhereTheValueIsXItself) {
  Rng rng(2);
  for (Index size : {1, 3, 7, 17}) {
    const auto x = Parameter<double>::normal({3, size}, 1.0, rng);
    const auto result =
        testing::grad_check([&](const Context<double>& ctx) { return straight_through(ctx, x, x); }, {x});
    EXPECT_TRUE(result) << result;
  }
}

TEST(StraightThrough, RefusesShapesThatDiffer) {
  EXPECT_THROW(straight_through(Context<float>{}, Tensor<float>::zeros({1, 3}), Tensor<float>::zeros({3})),
               ShapeError);
}

}  // namespace
}  // namespace exfusion
