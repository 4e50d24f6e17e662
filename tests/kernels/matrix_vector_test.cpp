#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/matrix_vector.hpp>

namespace exfusion::kernels {
namespace {

template <class T>
std::vector<T> random_numbers(Index count, std::uint64_t seed) {
  std::vector<T> numbers(static_cast<std::size_t>(count));
  Rng(seed).fill_normal(std::span<T>(numbers), 0.0, 1.0);
  return numbers;
}

template <class T>
void expect_products(Index rows, Index columns, Index stride, double tolerance) {
  const auto w = random_numbers<T>(rows * stride, 1), x = random_numbers<T>(columns, 2),
             bias = random_numbers<T>(rows, 3);
  for (const bool accumulate : {false, true}) {
    for (const bool with_bias : {false, true}) {
      auto y = random_numbers<T>(rows, 4);
      const auto before = y;
      MatrixVector<T>::multiply({w.data(), rows, columns, stride, 1}, x.data(), y.data(), accumulate,
                                with_bias ? bias.data() : nullptr);
      for (Index row = 0; row < rows; ++row) {
        const auto r = static_cast<std::size_t>(row);
        double expected = (accumulate ? static_cast<double>(before[r]) : 0) +
                          (with_bias ? static_cast<double>(bias[r]) : 0);
        for (Index c = 0; c < columns; ++c) {
          expected += static_cast<double>(w[static_cast<std::size_t>(row * stride + c)]) *
                      static_cast<double>(x[static_cast<std::size_t>(c)]);
        }
        ASSERT_NEAR(static_cast<double>(y[r]), expected,
                    tolerance * std::sqrt(static_cast<double>(columns + 1)))
            << rows << " x " << columns;
      }
    }
  }
}

TEST(MatrixVector, EqualsTheNaiveProduct) {
  for (const Index rows : {1, 3, 7, 17, 100}) {
    for (const Index columns : {0, 1, 3, 7, 17, 32, 768, 1000}) {
      expect_products<float>(rows, columns, columns, 1e-6);
      expect_products<double>(rows, columns, columns + 5, 1e-14);
    }
  }
  expect_products<float>(1000, 768, 768, 1e-6);
}

TEST(MatrixVector, IsTheSameForAnyNumberOfThreads) {
  const Index rows = 999, columns = 777;
  const auto w = random_numbers<float>(rows * columns, 1), x = random_numbers<float>(columns, 2);
  const int before = omp_get_max_threads();
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 5, 8}) {
    omp_set_num_threads(threads);
    std::vector<float> y(static_cast<std::size_t>(rows));
    MatrixVector<float>::multiply(dense_matrix(w.data(), rows, columns), x.data(), y.data(), false);
    if (first.empty()) first = y;
    EXPECT_EQ(y, first) << threads;
  }
  omp_set_num_threads(before);
}

// What a product of one row takes is chosen by the shapes alone: the next layer sees the same numbers.
TEST(MatrixVector, IsWhatAProductOfOneRowIs) {
  const Index d_in = 129, d_out = 65;
  const auto w = random_numbers<float>(d_out * d_in, 1), x = random_numbers<float>(d_in, 2),
             bias = random_numbers<float>(d_out, 3);
  std::vector<float> y(static_cast<std::size_t>(d_out)), z = y;
  MatrixVector<float>::multiply(dense_matrix(w.data(), d_out, d_in), x.data(), y.data(), false, bias.data());
  Gemm<float>::multiply(dense_matrix(x.data(), 1, d_in), dense_matrix(w.data(), d_out, d_in).transposed(),
                        dense_matrix(z.data(), 1, d_out), false, bias.data());
  EXPECT_EQ(y, z);
}

}  // namespace
}  // namespace exfusion::kernels
