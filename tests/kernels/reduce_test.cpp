#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion::kernels {
namespace {

template <Scalar T>
std::vector<T> random_numbers(Index count, std::uint64_t seed) {
  std::vector<T> values(static_cast<std::size_t>(count));
  Rng(seed).fill_normal(std::span<T>(values), 0.0, 1.0);
  return values;
}

template <Scalar T>
void check_sum_rows(Index rows, Index columns, bool accumulate) {
  const auto x = random_numbers<T>(rows * columns, 1);
  auto sum = random_numbers<T>(columns, 2);
  const auto before = sum;
  const T scale = T(0.5);
  Reduce<T>::sum_rows(x.data(), rows, columns, scale, {sum.data(), accumulate});
  for (std::size_t c = 0; c < sum.size(); ++c) {
    double expected = accumulate ? double{before[c]} : 0.0, magnitude = std::abs(expected);
    for (Index row = 0; row < rows; ++row) {
      const double term = double{scale} * double{x[static_cast<std::size_t>(row * columns) + c]};
      expected += term;
      magnitude += std::abs(term);
    }
    ASSERT_NEAR(sum[c], expected, 4 * static_cast<double>(std::numeric_limits<T>::epsilon()) * magnitude)
        << "column " << c << " of [" << rows << ", " << columns << "]";
  }
}

TEST(SumRows, AgreesWithTheNaiveSum) {
  for (Index rows : {0, 1, 3, 7, 17, 64, 130, 1500}) {
    for (Index columns : {0, 1, 3, 7, 17, 256, 300, 2049}) {
      for (bool accumulate : {false, true}) {
        check_sum_rows<float>(rows, columns, accumulate);
        check_sum_rows<double>(rows, columns, accumulate);
      }
    }
  }
}

TEST(SumRows, OfRoundedNumbersIsThatOfTheSameInFullPrecision) {
  for (Index rows : {0, 1, 3, 7, 17, 130, 1500}) {
    for (Index columns : {0, 1, 3, 7, 17, 300, 2049}) {
      for (bool accumulate : {false, true}) {
        auto x = random_numbers<float>(rows * columns, 1);
        std::vector<Bfloat16> rounded(x.size());
        for (std::size_t i = 0; i < x.size(); ++i)
          x[i] = static_cast<float>(rounded[i] = Bfloat16::from(x[i]));
        std::vector<float> sum(static_cast<std::size_t>(columns), 2.0F), expected = sum;
        Reduce<float>::sum_rows(x.data(), rows, columns, 1.0F, {expected.data(), accumulate});
        Reduce<float>::sum_rows(rounded.data(), rows, columns, {sum.data(), accumulate});
        EXPECT_EQ(sum, expected);
      }
    }
  }
}

TEST(SumRows, RoundsOnTheWay) {
  for (Index rows : {0, 1, 3, 7, 17, 130, 1500}) {
    for (Index columns : {0, 1, 3, 7, 17, 300, 2049}) {
      const auto x = random_numbers<float>(rows * columns, 1);
      std::vector<Bfloat16> rounded(x.size());
      std::vector<float> sum(static_cast<std::size_t>(columns), 2.0F), expected = sum;
      Reduce<float>::sum_rows(x.data(), rows, columns, 1.0F, {expected.data(), true});
      Reduce<float>::round_and_sum_rows(x.data(), rounded.data(), rows, columns, {sum.data(), true});
      EXPECT_EQ(sum, expected);
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(rounded[i], Bfloat16::from(x[i]));
    }
  }
}

TEST(SumRows, GivesTheSameBitsForAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  constexpr Index rows = 1001, columns = 700;
  const auto x = random_numbers<float>(rows * columns, 3);
  std::vector<std::vector<float>> results;
  for (int count : {1, 2, 3, 7}) {
    omp_set_num_threads(count);
    results.emplace_back(columns);
    Reduce<float>::sum_rows(x.data(), rows, columns, 1.0F, {results.back().data(), false});
  }
  omp_set_num_threads(threads);
  for (const auto& result : results) EXPECT_EQ(result, results[0]);
}

TEST(SumRows, DoesNotReadWhatItOverwrites) {
  const std::vector<float> x(64, 1.0F);
  std::vector<float> sum(4, std::numeric_limits<float>::quiet_NaN());
  Reduce<float>::sum_rows(x.data(), 16, 4, 1.0F, {sum.data(), false});
  EXPECT_EQ(sum, std::vector<float>(4, 16.0F));
}

}  // namespace
}  // namespace exfusion::kernels
