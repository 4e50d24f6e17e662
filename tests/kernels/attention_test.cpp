#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include <gtest/gtest.h>
#include <omp.h>
#include <support/naive_attention.hpp>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/attention.hpp>

namespace exfusion {
namespace {

using kernels::Attention;
using kernels::AttentionSizes;
using testing::NaiveAttention;

/// One problem in T, and what the kernel makes of it.
template <class T>
struct Problem {
  AttentionSizes sizes;
  std::vector<T> qkv, dy, y, log_sum_exp, dqkv;

  explicit Problem(AttentionSizes problem_sizes, double std = 1.0) : sizes(problem_sizes) {
    const auto numbers = static_cast<std::size_t>(sizes.batch * sizes.tokens * sizes.d_model());
    Rng rng(3);
    for (auto [values, size, spread] : {std::tuple(&qkv, 3 * numbers, std), std::tuple(&dy, numbers, 1.0)}) {
      values->resize(size);
      rng.fill_normal(std::span<T>(*values), 0.0, spread);
    }
    y.resize(numbers);
    dqkv.resize(3 * numbers);
    log_sum_exp.resize(static_cast<std::size_t>(sizes.batch * sizes.heads * sizes.tokens));
  }

  void forward() { Attention<T>::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes); }
  void backward(bool accumulate = false) {
    Attention<T>::backward(qkv.data(), y.data(), log_sum_exp.data(), dy.data(), {dqkv.data(), accumulate},
                           sizes);
  }
  void both() {
    forward();
    backward();
  }
};

template <class T>
double largest_difference(const std::vector<T>& values, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (!(difference <= worst)) worst = difference;  // NaN counts
  }
  return worst;
}

template <class T>
void expect_matches_naive(Problem<T>& run, double tolerance) {
  SCOPED_TRACE("T = " + std::to_string(run.sizes.tokens) + ", d_head = " + std::to_string(run.sizes.d_head) +
               (run.sizes.causal ? ", causal" : ", full"));
  const std::vector<double> qkv(run.qkv.begin(), run.qkv.end()), dy(run.dy.begin(), run.dy.end());
  const NaiveAttention naive{run.sizes, qkv.data()};
  run.both();
  EXPECT_LE(largest_difference(run.y, naive.forward()), tolerance);
  EXPECT_LE(largest_difference(run.log_sum_exp, naive.log_sum_exp()), tolerance);
  EXPECT_LE(largest_difference(run.dqkv, naive.backward(dy.data())), tolerance);
}

template <class T>
void expect_matches_naive_for_many_sizes(double tolerance) {
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 7, 17, 64, 65, 97, 257, 421}) {
      Problem<T> run({2, tokens, 3, 16, causal});
      expect_matches_naive(run, tolerance);
    }
    for (Index d_head : {1, 3, 7, 17, 64, 65, 128, 200, 256}) {
      Problem<T> run({1, 119, 2, d_head, causal});
      expect_matches_naive(run, tolerance);
    }
  }
}

TEST(AttentionKernel, MatchesTheNaiveOneInDouble) { expect_matches_naive_for_many_sizes<double>(1e-12); }

TEST(AttentionKernel, MatchesTheNaiveOneInFloat) { expect_matches_naive_for_many_sizes<float>(1e-5); }

// Of rounded inputs nothing but the probabilities and their gradients loses digits.
TEST(AttentionKernel, MatchesTheNaiveOneToTheDigitsOfBfloat16) {
  const auto expect_close = [](const AttentionSizes& sizes) {
    Problem<float> run(sizes);
    run.sizes.rounds = true;
    for (auto* values : {&run.qkv, &run.dy}) {
      for (float& value : *values) value = static_cast<float>(Bfloat16::from(value));
    }
    expect_matches_naive(run, 0.02);
  };
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 7, 17, 64, 65, 97, 257, 421}) expect_close({2, tokens, 3, 16, causal});
    for (Index d_head : {1, 3, 7, 17, 64, 65, 128, 200, 256}) expect_close({1, 119, 2, d_head, causal});
  }
}

TEST(AttentionKernel, RoundsNothingInDouble) {
  Problem<double> exact({2, 67, 2, 9, true}), rounded = exact;
  rounded.sizes.rounds = true;
  exact.both();
  rounded.both();
  EXPECT_EQ(exact.y, rounded.y);
  EXPECT_EQ(exact.dqkv, rounded.dqkv);
}

TEST(AttentionKernel, AddsToAGradientThatIsDefined) {
  for (const auto& [tokens, causal] : {std::pair{130, false}, {130, true}, {421, false}, {421, true}}) {
    Problem<double> run({2, tokens, 2, 9, causal});
    run.both();
    const std::vector<double> once = run.dqkv;
    run.backward(true);
    std::vector<double> twice = once;
    for (double& value : twice) value *= 2;
    EXPECT_LE(largest_difference(run.dqkv, twice), 1e-14);
  }
}

TEST(AttentionKernel, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const AttentionSizes& sizes : {AttentionSizes{3, 131, 3, 24, false},
                                      {3, 131, 3, 24, true},
                                      {1, 421, 1, 24, false},
                                      {1, 421, 2, 24, true},
                                      {3, 131, 3, 24, true, true},
                                      {1, 421, 1, 24, false, true}}) {
    Problem<float> run(sizes);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    run.both();
    const Problem<float> serial = run;
    for (int count : {2, 3, 5}) {
      omp_set_num_threads(count);
      std::ranges::fill(run.y, NAN);
      std::ranges::fill(run.dqkv, NAN);
      run.both();
      EXPECT_EQ(run.y, serial.y);
      EXPECT_EQ(run.log_sum_exp, serial.log_sum_exp);
      EXPECT_EQ(run.dqkv, serial.dqkv);
    }
    omp_set_num_threads(threads);
  }
}

class CausalAttentionKernel : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Rounds, CausalAttentionKernel, ::testing::Bool());

TEST_P(CausalAttentionKernel, LaterTokensDoNotTouchEarlierResults) {
  constexpr Index tokens = 230;
  Problem<float> run({1, tokens, 2, 20, true, GetParam()});
  run.forward();
  const Problem<float> before = run;
  for (Index changed : {1, 23, 24, 63, 64, 95, 96, 97, 149, 191, 192, 193, 229}) {
    run = before;
    const auto first = run.qkv.begin() + changed * 3 * run.sizes.d_model();
    std::fill(first, first + 3 * run.sizes.d_model(), 1e4F);
    run.forward();
    const auto end = static_cast<std::ptrdiff_t>(changed * run.sizes.d_model());
    EXPECT_TRUE(std::equal(run.y.begin(), run.y.begin() + end, before.y.begin())) << changed;
    EXPECT_FALSE(std::equal(run.y.begin() + end, run.y.end(), before.y.begin() + end)) << changed;
  }
}

// The kernels keep their blocks on the stack: NaN in what earlier calls left there must not come out.
[[gnu::noinline]] void leave_nan_on_the_stack() {
  std::array<volatile std::uint32_t, 1 << 19> room;
  for (auto& word : room) word = 0xFFFFFFFFU;
}

TEST(AttentionKernel, DoesNotReadWhatTheStackHeld) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  for (const AttentionSizes& size :
       {AttentionSizes{1, 17, 1, 3}, {1, 50, 1, 64}, {1, 150, 1, 48}, {1, 300, 1, 200}}) {
    for (bool causal : {false, true}) {
      for (bool rounds : {false, true}) {
        AttentionSizes sizes = size;
        sizes.causal = causal;
        sizes.rounds = rounds;
        Problem<float> clean(sizes), run(sizes);
        clean.both();
        leave_nan_on_the_stack();
        run.forward();
        leave_nan_on_the_stack();
        run.backward();
        EXPECT_EQ(run.y, clean.y);
        EXPECT_EQ(run.dqkv, clean.dqkv);
      }
    }
  }
  omp_set_num_threads(threads);
}

TEST(AttentionKernel, StaysFiniteWithHugeLogits) {
  for (bool causal : {false, true}) {
    for (bool rounds : {false, true}) {
      Problem<float> run({1, 131, 2, 16, causal, rounds}, 1e4);
      run.both();
      for (const auto* values : {&run.y, &run.log_sum_exp, &run.dqkv}) {
        EXPECT_TRUE(std::ranges::all_of(*values, [](float value) { return std::isfinite(value); }));
      }
    }
  }
}

TEST(AttentionKernel, AveragesTheValuesWhenAllLogitsAreEqual) {
  Problem<double> run({1, 70, 1, 5, true});
  for (Index t = 0; t < 70; ++t) std::fill_n(run.qkv.begin() + t * 15, 5, 0.0);
  run.forward();
  double sum = 0;
  for (Index t = 0; t < 70; ++t) {
    sum += run.qkv[static_cast<std::size_t>(t * 15 + 10)];
    EXPECT_NEAR(run.y[static_cast<std::size_t>(t * 5)], sum / static_cast<double>(t + 1), 1e-14);
  }
}

TEST(AttentionKernel, AcceptsNoTokensAndNoLogSumExp) {
  Problem<float> empty({2, 0, 2, 8, true});
  empty.both();
  Problem<float> run({1, 5, 2, 8, true});
  run.forward();
  const std::vector<float> y = run.y;
  Attention<float>::forward(run.qkv.data(), run.y.data(), nullptr, run.sizes);
  EXPECT_EQ(run.y, y);
}

}  // namespace
}  // namespace exfusion
