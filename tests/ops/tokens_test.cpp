#include <gtest/gtest.h>

#include <exfusion/ops/add.hpp>
#include <exfusion/ops/mean_pool.hpp>
#include <exfusion/ops/prepend_token.hpp>
#include <exfusion/ops/select_token.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Tokens, GradientsMatchDifferencesForOddSizes) {
  Rng rng(1);
  for (Index batch : {1, 3}) {
    for (Index tokens : {1, 3, 7, 17}) {
      for (Index width : {1, 3, 17}) {
        const auto x = Parameter<double>::normal({batch, tokens, width}, 1.0, rng);
        const auto token = Parameter<double>::normal({width}, 1.0, rng);
        auto result =
            testing::grad_check([&](const auto& ctx) { return prepend_token(ctx, x, token); }, {x, token});
        EXPECT_TRUE(result) << result;
        for (Index index : {Index{0}, tokens - 1}) {
          result = testing::grad_check([&](const auto& ctx) { return select_token(ctx, x, index); }, {x});
          EXPECT_TRUE(result) << result;
          result = testing::grad_check([&](const auto& ctx) { return mean_pool(ctx, x, index); }, {x});
          EXPECT_TRUE(result) << result;
        }
      }
    }
  }
}

TEST(Tokens, GradientsAddUpWhenATensorIsUsedTwice) {
  Rng rng(2);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  const auto token = Parameter<double>::normal({5}, 1.0, rng);
  const auto result = testing::grad_check(
      [&](const auto& ctx) {
        const auto longer = prepend_token(ctx, prepend_token(ctx, x, token), token);
        const auto pooled = mean_pool(ctx, longer, 1), chosen = select_token(ctx, longer, 3);
        return add(ctx, add(ctx, pooled, chosen), mean_pool(ctx, longer));
      },
      {x, token});
  EXPECT_TRUE(result) << result;
}

TEST(Tokens, ArePutBeforePickedAndAveraged) {
  Rng rng(3);
  const Index batch = 9, tokens = 31, width = 67;
  const auto x = testing::random_float({batch, tokens, width}, rng);
  const auto token = testing::random_float({width}, rng);
  const Context<float> ctx;
  const auto longer = prepend_token(ctx, x, token);
  ASSERT_EQ(longer.shape(), (Shape{batch, tokens + 1, width}));
  const auto first = select_token(ctx, longer, 0), last = select_token(ctx, longer, tokens);
  const auto mean = mean_pool(ctx, longer, 1);
  for (Index b = 0; b < batch; ++b) {
    for (Index d = 0; d < width; ++d) {
      ASSERT_EQ(first.data()[b * width + d], token.data()[d]);
      ASSERT_EQ(last.data()[b * width + d], x.data()[(b * tokens + tokens - 1) * width + d]);
      double sum = 0;
      for (Index t = 0; t < tokens; ++t) sum += static_cast<double>(x.data()[(b * tokens + t) * width + d]);
      ASSERT_NEAR(static_cast<double>(mean.data()[b * width + d]), sum / static_cast<double>(tokens), 1e-5);
    }
  }
}

TEST(Tokens, GradientOfThePrependedTokenDoesNotDependOnTheNumberOfThreads) {
  Rng rng(4);
  const auto x = testing::random_float({130, 2, 70}, rng);
  const auto token = testing::random_float({70}, rng);
  const auto dy = testing::random_values<float>(130 * 3 * 70, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    token.gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return prepend_token(ctx, x, token); }, dy);
    return testing::copy_of(token.grad());
  });
}

TEST(Tokens, NameTheShapesAndPlacesThatDoNotFit) {
  const Context<float> ctx;
  const auto x = Tensor<float>::zeros({2, 4, 8});
  try {
    select_token(ctx, x, 4);
    FAIL() << "a token after the last was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[select_token] token 4 does not exist in x [2, 4, 8] of 4 tokens");
  }
  EXPECT_THROW(select_token(ctx, x, -1), ShapeError);
  EXPECT_THROW(select_token(ctx, Tensor<float>::zeros({2, 4}), 0), ShapeError);
  EXPECT_THROW(mean_pool(ctx, x, 4), ShapeError);
  EXPECT_THROW(mean_pool(ctx, Tensor<float>::zeros({2, 0, 4})), ShapeError);
  EXPECT_THROW(prepend_token(ctx, x, Tensor<float>::zeros({7})), ShapeError);
  EXPECT_THROW(prepend_token(ctx, Tensor<float>::zeros({2, 8}), Tensor<float>::zeros({8})), ShapeError);
}

}  // namespace
}  // namespace exfusion
