#include <gtest/gtest.h>

#include <exfusion/ops/add.hpp>
#include <exfusion/ops/silu.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Add, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index size : {1, 3, 7, 17}) {
    const auto a = Parameter<double>::normal({size, 2}, 1.0, rng);
    const auto b = Parameter<double>::normal({size, 2}, 1.0, rng);
    const auto result = testing::grad_check([&](const auto& ctx) { return add(ctx, a, b); }, {a, b});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Add, AddsATensorToItselfAndToASumOfItself) {
  Rng rng(2);
  const auto x = Parameter<double>::normal({3, 5}, 1.0, rng);
  const auto result = testing::grad_check([&](const auto& ctx) { return add(ctx, add(ctx, x, x), x); }, {x});
  EXPECT_TRUE(result) << result;
  const Context<double> ctx;
  const auto y = add(ctx, add(ctx, x, x), x);
  for (Index i = 0; i < x.size(); ++i) EXPECT_DOUBLE_EQ(y.data()[i], 3 * x.data()[i]);
}

TEST(Add, GradientOfAResidualStreamMatchesDifferences) {
  Rng rng(4);
  const auto x = Parameter<double>::normal({3, 5}, 1.0, rng);
  const auto z = Parameter<double>::normal({3, 5}, 1.0, rng);
  const auto result = testing::grad_check(
      [&](const auto& ctx) {
        auto stream = add(ctx, x, z);
        for (int layer = 0; layer < 2; ++layer) stream = add(ctx, stream, silu(ctx, stream));
        stream = add(ctx, silu(ctx, stream), stream);  // the other way round
        return add(ctx, stream, stream);
      },
      {x, z});
  EXPECT_TRUE(result) << result;
}

TEST(Add, SumsLargeTensorsElementByElement) {
  Rng rng(3);
  const auto a = testing::random_float({70, 701}, rng), b = testing::random_float({70, 701}, rng);
  const auto y = add(Context<float>{}, a, b);
  for (Index i = 0; i < y.size(); ++i) ASSERT_EQ(y.data()[i], a.data()[i] + b.data()[i]);
}

TEST(Add, NamesShapesThatDiffer) {
  const Context<float> ctx;
  try {
    add(ctx, Tensor<float>::zeros({2, 3}), Tensor<float>::zeros({3, 2}));
    FAIL() << "different shapes were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[add] a is [2, 3] and b is [3, 2]: they must have one shape");
  }
}

}  // namespace
}  // namespace exfusion
