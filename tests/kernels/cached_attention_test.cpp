#include <algorithm>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/cached_attention.hpp>

namespace exfusion::kernels {
namespace {

template <class T>
std::vector<T> random_numbers(Index count) {
  std::vector<T> numbers(static_cast<std::size_t>(count));
  Rng(1).fill_normal(std::span<T>(numbers), 0.0, 1.0);
  return numbers;
}

/// The attention of `tokens` tokens that come in pieces of `step`, [tokens, D].
template <class T>
std::vector<T> cached(const std::vector<T>& qkv, const AttentionCacheSizes& sizes, Index tokens, Index step) {
  const Index d_model = sizes.d_model();
  std::vector<T> keys(static_cast<std::size_t>(sizes.capacity * d_model)), values = keys;
  std::vector<T> y(static_cast<std::size_t>(tokens * d_model));
  for (Index begin = 0; begin < tokens; begin += step) {
    const Index count = std::min(step, tokens - begin);
    const T* fresh = qkv.data() + begin * 3 * d_model;
    CachedAttention<T>::append(fresh, begin, count, sizes, keys.data(), values.data());
    CachedAttention<T>::forward(fresh, begin, count, sizes, keys.data(), values.data(),
                                y.data() + begin * d_model);
  }
  return y;
}

template <class T>
void expect_same_as_at_once(double tolerance) {
  for (const Index tokens : {1, 3, 7, 17, 130}) {
    for (const Index d_head : {1, 3, 7, 17, 64, 80}) {
      const AttentionCacheSizes sizes{.heads = 3, .d_head = d_head, .capacity = tokens + 2};
      const auto qkv = random_numbers<T>(tokens * 3 * sizes.d_model());
      std::vector<T> expected(static_cast<std::size_t>(tokens * sizes.d_model()));
      Attention<T>::forward(qkv.data(), expected.data(), nullptr,
                            {.batch = 1, .tokens = tokens, .heads = 3, .d_head = d_head, .causal = true});
      for (const Index step : {Index{1}, Index{4}, tokens}) {
        const auto y = cached(qkv, sizes, tokens, step);
        for (std::size_t i = 0; i < y.size(); ++i)
          ASSERT_NEAR(static_cast<double>(y[i]), static_cast<double>(expected[i]), tolerance)
              << tokens << " tokens, " << d_head << " wide, " << step << " at a time";
      }
    }
  }
}

TEST(CachedAttention, IsAttentionHoweverTheTokensCome) {
  expect_same_as_at_once<float>(3e-6);
  expect_same_as_at_once<double>(1e-12);
}

TEST(CachedAttention, IsTheSameForAnyNumberOfThreadsAndAnyPieces) {
  const AttentionCacheSizes sizes{.heads = 5, .d_head = 17, .capacity = 50};
  const auto qkv = random_numbers<float>(50 * 3 * sizes.d_model());
  const auto first = cached(qkv, sizes, 50, 1);
  const int before = omp_get_max_threads();
  for (const int threads : {1, 2, 3, 5, 8}) {
    omp_set_num_threads(threads);
    EXPECT_EQ(cached(qkv, sizes, 50, 1), first) << threads;
    EXPECT_EQ(cached(qkv, sizes, 50, 50), first) << threads;
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace exfusion::kernels
