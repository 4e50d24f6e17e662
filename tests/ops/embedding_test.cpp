#include <gtest/gtest.h>

#include <exfusion/ops/embedding.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

IntTensor random_ids(Shape shape, Index limit, Rng& rng) {
  IntTensor ids(shape);
  for (auto& id : ids.values()) id = static_cast<std::int32_t>(rng.below(limit));
  return ids;
}

TEST(Embedding, GradientMatchesDifferencesForOddSizesAndRepeatedIds) {
  Rng rng(1);
  for (Index tokens : {1, 3, 7, 17}) {
    for (Index width : {1, 3, 7, 17}) {
      const auto ids = random_ids({2, tokens}, 5, rng);
      const auto weight = Parameter<double>::normal({5, width}, 1.0, rng);
      const auto result =
          testing::grad_check([&](const auto& ctx) { return embedding(ctx, ids, weight); }, {weight});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(Embedding, AddsToTheGradientOfATiedHead) {
  Rng rng(2);
  const auto ids = random_ids({4, 3}, 6, rng);
  const auto weight = Parameter<double>::normal({6, 7}, 1.0, rng);
  const auto result = testing::grad_check(
      [&](const auto& ctx) { return linear(ctx, embedding(ctx, ids, weight), weight); }, {weight});
  EXPECT_TRUE(result) << result;
}

TEST(Embedding, TakesIdsOfRankZeroToThree) {
  Rng rng(3);
  const auto weight = testing::random_float({9, 130}, rng);
  for (const Shape& shape : {Shape{}, Shape{40}, Shape{5, 8}, Shape{2, 4, 5}}) {
    const auto ids = random_ids(shape, 9, rng);
    const auto y = embedding(Context<float>{}, ids, weight);
    EXPECT_EQ(y.shape(), shape.with_appended(130));
    for (Index i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y.data()[i], weight.data()[ids.data()[i / 130] * 130 + i % 130]);
    }
  }
  EXPECT_THROW(embedding(Context<float>{}, random_ids({1, 1, 1, 1}, 9, rng), weight), ShapeError);
}

TEST(Embedding, GradientIsTheSameForAllThreadCountsAndMatchesANaiveSum) {
  Rng rng(4);
  const Index vocab_size = 30, width = 200;
  const auto ids = random_ids({500}, vocab_size - 1, rng);
  const auto weight = testing::random_float({vocab_size, width}, rng);
  const auto dy = testing::random_values<float>(500 * width, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    weight.gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return embedding(ctx, ids, weight); }, dy);
    return testing::copy_of(weight.grad());
  });
  std::vector<double> naive(static_cast<std::size_t>(vocab_size * width));
  for (Index i = 0; i < 500 * width; ++i) {
    naive[static_cast<std::size_t>(ids.data()[i / width] * width + i % width)] +=
        static_cast<double>(dy[static_cast<std::size_t>(i)]);
  }
  testing::expect_close(weight.grad(), naive, 2e-6);
}

TEST(Embedding, NamesTheFirstTokenOutsideTheVocabulary) {
  const Context<float> ctx;
  const auto weight = Tensor<float>::zeros({65, 4});
  try {
    embedding(ctx, IntTensor({2, 3}, {0, 64, 1, 2, 3, 65}), weight);
    FAIL() << "a token outside the vocabulary was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[embedding] tokens[1, 2] is 65: it must lie in [0, 65)");
  }
  EXPECT_THROW(embedding(ctx, IntTensor({1}, {-1}), weight), Error);
  EXPECT_THROW(embedding(ctx, IntTensor({1}, {0}), Tensor<float>::zeros({0, 4})), Error);
  EXPECT_THROW(embedding(ctx, IntTensor(), weight), ShapeError);
  EXPECT_THROW(embedding(ctx, IntTensor({1}, {0}), Tensor<float>::zeros({4})), ShapeError);
}

}  // namespace
}  // namespace exfusion
