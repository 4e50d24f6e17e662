#include <gtest/gtest.h>

#include <exfusion/ops/add_position.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(AddPosition, GradientMatchesDifferencesForOddSizesAndUnusedPositions) {
  Rng rng(1);
  for (Index batch : {1, 3}) {
    for (Index tokens : {1, 3, 7}) {
      for (Index width : {1, 3, 17}) {
        const auto x = Parameter<double>::normal({batch, tokens, width}, 1.0, rng);
        const auto table = Parameter<double>::normal({tokens + 2, width}, 1.0, rng);
        const auto result =
            testing::grad_check([&](const auto& ctx) { return add_position(ctx, x, table); }, {x, table});
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

TEST(AddPosition, AddsTheSameTableToEverySequence) {
  Rng rng(2);
  const Index batch = 5, tokens = 33, width = 130;
  const auto x = testing::random_float({batch, tokens, width}, rng);
  const auto table = testing::random_float({40, width}, rng);
  const auto y = add_position(Context<float>{}, x, table);
  for (Index i = 0; i < y.size(); ++i) {
    ASSERT_EQ(y.data()[i], x.data()[i] + table.data()[i % (tokens * width)]);
  }
}

TEST(AddPosition, GradientOfTheTableDoesNotDependOnTheNumberOfThreads) {
  Rng rng(3);
  const auto x = testing::random_float({9, 50, 70}, rng);
  const auto table = testing::random_float({64, 70}, rng);
  const auto dy = testing::random_values<float>(x.size(), rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    table.gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return add_position(ctx, x, table); }, dy);
    return testing::copy_of(table.grad());
  });
  for (Index i = 0; i < table.size(); ++i) {
    double sum = 0;
    for (Index b = 0; b < 9 && i < 50 * 70; ++b)
      sum += static_cast<double>(dy[static_cast<std::size_t>(b * 50 * 70 + i)]);
    ASSERT_NEAR(static_cast<double>(table.grad()[static_cast<std::size_t>(i)]), sum, 1e-5);
  }
}

TEST(AddPosition, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  const auto table = Tensor<float>::zeros({8, 4});
  try {
    add_position(ctx, Tensor<float>::zeros({2, 9, 4}), table);
    FAIL() << "a sequence longer than the table was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(),
                 "[add_position] x is [2, 9, 4]: its 9 tokens are more than the table's 8 positions");
  }
  EXPECT_THROW(add_position(ctx, Tensor<float>::zeros({2, 3, 5}), table), ShapeError);
  EXPECT_THROW(add_position(ctx, Tensor<float>::zeros({3, 4}), table), ShapeError);
  EXPECT_THROW(add_position(ctx, Tensor<float>::zeros({2, 3, 4}), Tensor<float>::zeros({4})), ShapeError);
}

}  // namespace
}  // namespace exfusion
