#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>
#include <support/naive_attention.hpp>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/attention_heads.hpp>

namespace exfusion {
namespace {

using kernels::Attention;
using kernels::AttentionSizes;
using testing::NaiveAttention;

double exact(double value) { return value; }
double exact(float value) { return static_cast<double>(value); }
double exact(Bfloat16 value) { return static_cast<double>(static_cast<float>(value)); }

template <class T>
std::vector<double> exact(const std::vector<T>& values) {
  std::vector<double> result(values.size());
  std::ranges::transform(values, result.begin(), [](T value) { return exact(value); });
  return result;
}

/// What the library takes for arrays of T, or of Bfloat16.
template <class T, class Source>
struct Chosen {
  static void forward(const Source* qkv, Source* y, T* log_sum_exp, const AttentionSizes& sizes) {
    Attention<T>::forward(qkv, y, log_sum_exp, sizes);
  }
  static void backward(const Source* qkv, const Source* y, const T* log_sum_exp, const Source* dy,
                       Source* dqkv, bool accumulate, const AttentionSizes& sizes) {
    if constexpr (std::is_same_v<Source, T>) {
      Attention<T>::backward(qkv, y, log_sum_exp, dy, {dqkv, accumulate}, sizes);
    } else {
      Attention<T>::backward(qkv, y, log_sum_exp, dy, dqkv, sizes);
    }
  }
};

/// What it takes on other CPUs.
template <class Numbers>
struct Forced {
  using Factors = kernels::detail::AttentionFactors<Numbers>;
  using T = typename Factors::T;
  using Source = typename Factors::Source;

  static void forward(const Source* qkv, Source* y, T* log_sum_exp, const AttentionSizes& sizes) {
    kernels::detail::attention_forward<Factors>(qkv, y, log_sum_exp, sizes);
  }
  static void backward(const Source* qkv, const Source* y, const T* log_sum_exp, const Source* dy,
                       Source* dqkv, bool accumulate, const AttentionSizes& sizes) {
    kernels::detail::AttentionParts<Factors>({qkv, y, log_sum_exp, dy, dqkv, accumulate, sizes}).run();
  }
};

/// One problem in T, its arrays in Source (T or Bfloat16), and what the kernel makes of it.
template <class T, class Source = T, class Kernel = Chosen<T, Source>>
struct Problem {
  AttentionSizes sizes;
  std::vector<Source> qkv, dy, y, dqkv;
  std::vector<T> log_sum_exp;

  explicit Problem(AttentionSizes problem_sizes, double std = 1.0) : sizes(problem_sizes) {
    const auto numbers = static_cast<std::size_t>(sizes.batch * sizes.tokens * sizes.d_model());
    Rng rng(3);
    for (auto [values, size, spread] : {std::tuple(&qkv, 3 * numbers, std), std::tuple(&dy, numbers, 1.0)})
      *values = normal(size, spread, rng);
    y.resize(numbers);
    dqkv.resize(3 * numbers);
    log_sum_exp.resize(static_cast<std::size_t>(sizes.batch * sizes.heads * sizes.tokens));
  }

  static Source source(T value) {
    if constexpr (std::is_same_v<Source, T>) {
      return value;
    } else {
      return Bfloat16::from(static_cast<float>(value));
    }
  }
  static std::vector<Source> normal(std::size_t size, double std, Rng& rng) {
    std::vector<T> values(size);
    rng.fill_normal(std::span<T>(values), 0.0, std);
    std::vector<Source> result(size);
    std::ranges::transform(values, result.begin(), source);
    return result;
  }

  void forward() { Kernel::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes); }
  void backward(bool accumulate = false) {
    Kernel::backward(qkv.data(), y.data(), log_sum_exp.data(), dy.data(), dqkv.data(), accumulate, sizes);
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
    const double difference = std::abs(exact(values[i]) - expected[i]);
    if (!(difference <= worst)) worst = difference;  // NaN counts
  }
  return worst;
}

template <class Run>
void expect_matches_naive(const AttentionSizes& sizes, double tolerance) {
  Run run(sizes);
  SCOPED_TRACE("T = " + std::to_string(sizes.tokens) + ", d_head = " + std::to_string(sizes.d_head) +
               (sizes.causal ? ", causal" : ", full"));
  const std::vector<double> qkv = exact(run.qkv), dy = exact(run.dy);
  const NaiveAttention naive{sizes, qkv.data()};
  run.both();
  EXPECT_LE(largest_difference(run.y, naive.forward()), tolerance);
  EXPECT_LE(largest_difference(run.log_sum_exp, naive.log_sum_exp()), tolerance);
  EXPECT_LE(largest_difference(run.dqkv, naive.backward(dy.data())), tolerance);
}

template <class Run>
void expect_matches_naive_for_many_sizes(double tolerance) {
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 7, 17, 64, 65, 97, 257, 421})
      expect_matches_naive<Run>({2, tokens, 3, 16, causal}, tolerance);
    for (Index d_head : {1, 3, 7, 17, 64, 65, 128, 200, 256})
      expect_matches_naive<Run>({1, 119, 2, d_head, causal}, tolerance);
  }
}

TEST(AttentionKernel, MatchesTheNaiveOneInDouble) {
  expect_matches_naive_for_many_sizes<Problem<double>>(1e-12);
}

TEST(AttentionKernel, MatchesTheNaiveOneInFloat) {
  expect_matches_naive_for_many_sizes<Problem<float>>(1e-5);
}

/// Not AMX's, although the CPU may have it.
struct PairsInVectors : kernels::detail::PairedBfloat16 {};

// y and the gradients are rounded, and so is y as the backward pass reads it; in pairs also the probabilities
// and their gradients.
TEST(AttentionKernel, MatchesTheNaiveOneToTheDigitsOfBfloat16) {
  using kernels::detail::WidenedBfloat16;
  expect_matches_naive_for_many_sizes<Problem<float, Bfloat16>>(0.02);
  expect_matches_naive_for_many_sizes<Problem<double, Bfloat16>>(0.02);
  expect_matches_naive_for_many_sizes<Problem<float, Bfloat16, Forced<WidenedBfloat16<float>>>>(0.02);
  expect_matches_naive_for_many_sizes<Problem<float, Bfloat16, Forced<PairsInVectors>>>(0.02);
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

using Arrays = ::testing::Types<float, Bfloat16>;

/// The tests below are run for arrays in float and in bfloat16.
template <class Source>
class AttentionArrays : public ::testing::Test {
 public:
  static void fill(std::vector<Source>& values, float value) {
    std::ranges::fill(values, Problem<float, Source>::source(value));
  }
};
TYPED_TEST_SUITE(AttentionArrays, Arrays);

TYPED_TEST(AttentionArrays, GiveTheSameBitsForAnyNumberOfThreads) {
  for (const AttentionSizes& sizes : {AttentionSizes{3, 131, 3, 24, false},
                                      {3, 131, 3, 24, true},
                                      {1, 421, 1, 24, false},
                                      {1, 421, 2, 24, true}}) {
    Problem<float, TypeParam> run(sizes);
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    run.both();
    const Problem<float, TypeParam> serial = run;
    for (int count : {2, 3, 5}) {
      omp_set_num_threads(count);
      this->fill(run.y, NAN);
      this->fill(run.dqkv, NAN);
      run.both();
      EXPECT_EQ(run.y, serial.y);
      EXPECT_EQ(run.log_sum_exp, serial.log_sum_exp);
      EXPECT_EQ(run.dqkv, serial.dqkv);
    }
    omp_set_num_threads(threads);
  }
}

TYPED_TEST(AttentionArrays, OfLaterTokensDoNotTouchEarlierResults) {
  constexpr Index tokens = 230;
  Problem<float, TypeParam> run({1, tokens, 2, 20, true});
  run.forward();
  const Problem<float, TypeParam> before = run;
  for (Index changed : {1, 23, 24, 63, 64, 95, 96, 97, 149, 191, 192, 193, 229}) {
    run = before;
    const auto first = run.qkv.begin() + changed * 3 * run.sizes.d_model();
    std::fill(first, first + 3 * run.sizes.d_model(), run.source(1e4F));
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

TYPED_TEST(AttentionArrays, DoNotTakeUpWhatMemoryHeld) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  for (const AttentionSizes& size :
       {AttentionSizes{1, 17, 1, 3}, {1, 50, 1, 64}, {1, 150, 1, 48}, {1, 300, 1, 200}}) {
    for (bool causal : {false, true}) {
      AttentionSizes sizes = size;
      sizes.causal = causal;
      Problem<float, TypeParam> clean(sizes), run(sizes), dirty(sizes);
      clean.both();
      this->fill(dirty.qkv, NAN);
      dirty.both();  // leaves NaN in the threads' scratch memory
      leave_nan_on_the_stack();
      run.forward();
      leave_nan_on_the_stack();
      run.backward();
      EXPECT_EQ(run.y, clean.y);
      EXPECT_EQ(run.dqkv, clean.dqkv);
    }
  }
  omp_set_num_threads(threads);
}

TYPED_TEST(AttentionArrays, StayFiniteWithHugeLogits) {
  for (Index d_head : {16, 24}) {
    for (bool causal : {false, true}) {
      Problem<float, TypeParam> run({1, 131, 2, d_head, causal}, 1e4);
      run.both();
      for (const auto& values : {exact(run.y), exact(run.log_sum_exp), exact(run.dqkv)})
        EXPECT_TRUE(std::ranges::all_of(values, [](double value) { return std::isfinite(value); }));
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

TYPED_TEST(AttentionArrays, MayHaveNoTokensAndNoLogSumExp) {
  Problem<float, TypeParam> empty({2, 0, 2, 8, true});
  empty.both();
  Problem<float, TypeParam> run({1, 5, 2, 8, true});
  run.forward();
  const std::vector<TypeParam> y = run.y;
  Attention<float>::forward(run.qkv.data(), run.y.data(), nullptr, run.sizes);
  EXPECT_EQ(run.y, y);
}

}  // namespace
}  // namespace exfusion
