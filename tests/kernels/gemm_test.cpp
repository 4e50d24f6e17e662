#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/amx.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/gemm_eigen.hpp>
#include <exfusion/kernels/gemm_grid.hpp>
#include <exfusion/kernels/gemm_tile.hpp>
#if EXFUSION_AMX
#include <exfusion/kernels/gemm_amx.hpp>
#endif
#ifdef EXFUSION_ONEDNN
#include <exfusion/kernels/gemm_onednn.hpp>
#endif

namespace exfusion::kernels {
namespace {

enum class Order { by_rows, by_columns };

double number(Bfloat16 value) { return double{static_cast<float>(value)}; }
double number(auto value) { return double{value}; }

template <class T>
void fill(std::vector<T>& values, Rng& rng) {
  if constexpr (std::same_as<T, Bfloat16>) {
    std::vector<float> exact(values.size());
    fill(exact, rng);
    std::ranges::transform(exact, values.begin(), Bfloat16::from);
  } else {
    rng.fill_normal(std::span<T>(values), 0.0, 1.0);
  }
}

/// A random matrix with gaps between its rows (or columns), as a part of a larger one has.
template <class T>
struct Matrix {
  Matrix(Index rows, Index columns, Order order, Rng& rng, Index gap = 3)
      : values(static_cast<std::size_t>((rows + gap) * (columns + gap) + 1)) {
    fill(values, rng);
    view = order == Order::by_rows ? MatrixView<T>{values.data() + 1, rows, columns, columns + gap, 1}
                                   : MatrixView<T>{values.data() + 1, rows, columns, 1, rows + gap};
  }

  MatrixView<const T> read() const {
    return {view.data, view.rows, view.columns, view.row_stride, view.column_stride};
  }
  T at(Index row, Index column) const {
    return view.data[row * view.row_stride + column * view.column_stride];
  }

  std::vector<T> values;
  MatrixView<T> view;
};

/// C = A B with numbers of type `In` in A and B.
template <Scalar T, class In = T>
struct Problem {
  Problem(Index m, Index n, Index k, Order order_a, Order order_b, Rng& rng, Index gap = 3)
      : a(m, k, order_a, rng, gap),
        b(k, n, order_b, rng, gap),
        c(m, n, Order::by_rows, rng, gap),
        bias(static_cast<std::size_t>(n)) {
    rng.fill_normal(std::span<T>(bias), 0.0, 1.0);
  }

  struct Expected {
    std::vector<double> value;  ///< What C's memory must hold, gaps between the rows included.
    std::vector<double>
        magnitude;  ///< The same sum over absolute values: rounding errors are relative to it.
  };

  Expected expected(bool accumulate, bool with_bias) const {
    Expected result{{c.values.begin(), c.values.end()}, std::vector<double>(c.values.size(), 0.0)};
    for (Index row = 0; row < c.view.rows; ++row) {
      for (Index column = 0; column < c.view.columns; ++column) {
        const double before = accumulate ? double{c.at(row, column)} : 0.0;
        const double offset = with_bias ? double{bias[static_cast<std::size_t>(column)]} : 0.0;
        double sum = before + offset, magnitude = std::abs(before) + std::abs(offset);
        for (Index k = 0; k < b.view.rows; ++k) {
          const double product = number(a.at(row, k)) * number(b.at(k, column));
          sum += product;
          magnitude += std::abs(product);
        }
        const auto place =
            static_cast<std::size_t>(c.view.data - c.values.data() + row * c.view.row_stride + column);
        result.value[place] = sum;
        result.magnitude[place] = magnitude;
      }
    }
    return result;
  }

  void expect(const Expected& expected) const {
    const double tolerance = 4 * static_cast<double>(std::numeric_limits<T>::epsilon());
    for (std::size_t i = 0; i < c.values.size(); ++i) {
      ASSERT_NEAR(c.values[i], expected.value[i], tolerance * expected.magnitude[i])
          << "element " << i << " of [" << c.view.rows << ", " << c.view.columns << "], depth "
          << b.view.rows;
    }
  }

  Matrix<In> a, b;
  Matrix<T> c;
  std::vector<T> bias;
};

template <class Numbers, int Bytes = simd_bytes>
using Blocked = detail::GemmGrid<detail::BlockedTile<detail::GemmMicroKernel<Numbers, Bytes>>>;
template <class T, class In = T>
using Eigens = detail::GemmGrid<detail::EigenTile<T, In>>;
using detail::PlainNumbers, detail::WidenedBfloat16, detail::PairedBfloat16;
#ifdef EXFUSION_ONEDNN
using OneDnns = detail::OneDnnGemm;
#else
using OneDnns = Eigens<float>;
#endif
#if EXFUSION_AMX
using Amx = detail::GemmGrid<detail::BlockedTile<detail::AmxMicroKernel>>;
#else
using Amx = Eigens<float, Bfloat16>;
#endif
using Products =
    ::testing::Types<Amx, Blocked<PlainNumbers<float>>, Blocked<PlainNumbers<double>>,
                     Blocked<PlainNumbers<float>, 16>, Blocked<PlainNumbers<float>, 64>,
                     Blocked<WidenedBfloat16<float>>, Blocked<PairedBfloat16>, Blocked<PairedBfloat16, 16>,
                     Eigens<float>, Eigens<double>, Eigens<float, Bfloat16>, OneDnns>;

template <class Product>
class GemmProduct : public ::testing::Test {
 protected:
  using T = typename Product::T;

  void check(Index m, Index n, Index k) {
    for (Order order_a : {Order::by_rows, Order::by_columns}) {
      for (Order order_b : {Order::by_rows, Order::by_columns}) {
        for (int variant = 0; variant < 4; ++variant) {
          Problem<T, typename Product::Source> problem(m, n, k, order_a, order_b, rng_);
          const bool accumulate = (variant & 1) != 0, with_bias = (variant & 2) != 0;
          const auto expected = problem.expected(accumulate, with_bias);
          Product::multiply(problem.a.read(), problem.b.read(), problem.c.view,
                            {.accumulate = accumulate, .bias = with_bias ? problem.bias.data() : nullptr});
          problem.expect(expected);
        }
      }
    }
  }

  Rng rng_{3};
};
TYPED_TEST_SUITE(GemmProduct, Products);

TYPED_TEST(GemmProduct, AgreesWithTheNaiveProductForOddSizes) {
  for (Index m : {1, 3, 7, 17}) {
    for (Index n : {1, 3, 7, 17, 33}) {
      for (Index k : {1, 3, 7, 17}) this->check(m, n, k);
    }
  }
}

TYPED_TEST(GemmProduct, AgreesWithTheNaiveProductAcrossBlockBorders) {
  this->check(193, 17, 30);
  this->check(13, 70, 257);
  this->check(24, 96, 520);
  this->check(50, 35, 1022);
  this->check(205, 40, 30);
  this->check(17, 300, 30);
}

// Rows of A without gaps, at odd distances and whole pages apart, and more of them than are packed at a time.
TYPED_TEST(GemmProduct, AgreesWithTheNaiveProductForAnyDistanceOfRows) {
  for (Index gap : {0, 1, 48}) {
    for (const auto& [m, n, k] : {std::array<Index, 3>{1100, 40, 64}, {27, 20, 2000}}) {
      Problem<typename TestFixture::T, typename TypeParam::Source> problem(
          m, n, k, Order::by_rows, Order::by_columns, this->rng_, gap);
      const auto expected = problem.expected(false, true);
      TypeParam::multiply(problem.a.read(), problem.b.read(), problem.c.view, {.bias = problem.bias.data()});
      problem.expect(expected);
    }
  }
}

TYPED_TEST(GemmProduct, CutsALongInnerDimensionIntoParts) {
  this->check(5, 9, 5000);
  this->check(5, 9, 8200);
  this->check(33, 20, 1100);
}

// Few tiles, parts of a long inner dimension, more threads than parts, and tiles of several blocks.
TYPED_TEST(GemmProduct, GivesTheSameBitsForAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  for (const auto& [m, n, k] : {std::array<Index, 3>{300, 200, 600},
                                {40, 30, 5000},
                                {40, 50, 5000},
                                {260, 200, 1700},
                                {1100, 900, 270}}) {
    for (bool transposed : {false, true}) {
      std::vector<std::vector<typename TestFixture::T>> results;
      for (int count : {1, 2, 3, 9}) {
        omp_set_num_threads(count);
        Rng rng(6);
        Problem<typename TestFixture::T, typename TypeParam::Source> problem(
            m, n, k, transposed ? Order::by_columns : Order::by_rows,
            transposed ? Order::by_rows : Order::by_columns, rng);
        TypeParam::multiply(problem.a.read(), problem.b.read(), problem.c.view, {});
        results.push_back(problem.c.values);
      }
      omp_set_num_threads(threads);
      for (const auto& result : results) EXPECT_EQ(result, results[0]);
    }
  }
}

TYPED_TEST(GemmProduct, TakesEmptyMatrices) {
  this->check(0, 5, 5000);
  this->check(5, 0, 5000);
  this->check(0, 5, 7);
  this->check(5, 0, 7);
  this->check(5, 7, 0);
  this->check(13, 40, 0);
  this->check(0, 0, 0);
}

template <class T>
class GemmKernel : public ::testing::Test {};
using Numbers = ::testing::Types<float, double>;
TYPED_TEST_SUITE(GemmKernel, Numbers);

TYPED_TEST(GemmKernel, MultipliesSquareMatrices) {
  Rng rng(5);
  for (Index size : {1, 17, 64, 130}) {
    Problem<TypeParam> problem(size, size, size, Order::by_rows, Order::by_columns, rng);
    const auto expected = problem.expected(true, true);
    Gemm<TypeParam>::multiply(problem.a.read(), problem.b.read(), problem.c.view, true, problem.bias.data());
    problem.expect(expected);
  }
}

// More rows or columns than are packed at a time; at last rows a power of two apart, which are packed too.
TYPED_TEST(GemmKernel, AgreesWithTheNaiveProductAcrossPackedParts) {
  Rng rng(9);
  for (const auto& [m, n, k] :
       {std::array<Index, 3>{1030, 24, 600}, {40, 1040, 600}, {40, 30, 2045}, {1100, 700, 40}}) {
    for (Order order_a : {Order::by_rows, Order::by_columns}) {
      Problem<TypeParam> problem(m, n, k, order_a, Order::by_rows, rng);
      const auto expected = problem.expected(true, true);
      Gemm<TypeParam>::multiply(problem.a.read(), problem.b.read(), problem.c.view, true,
                                problem.bias.data());
      problem.expect(expected);
    }
  }
}

TYPED_TEST(GemmKernel, SumsUpExactProductsOfRoundedOperands) {
  Rng rng(10);
  for (const auto& [m, n, k] : {std::array<Index, 3>{1, 1, 1}, {17, 7, 3}, {130, 65, 129}, {300, 40, 1201}}) {
    Problem<TypeParam, Bfloat16> problem(m, n, k, Order::by_rows, Order::by_columns, rng, 0);
    const Operand<TypeParam> a(nullptr, problem.a.view.data, m, k), b(nullptr, problem.b.view.data, n, k);
    ASSERT_TRUE(a.is_rounded() && b.transposed().is_rounded());
    const auto expected = problem.expected(true, true);
    Gemm<TypeParam>::multiply(a, b.transposed(), problem.c.view, true, problem.bias.data());
    problem.expect(expected);
  }
}

// A read in place and packed, several blocks, the deepest sums that are rounded at once, and deeper ones.
TYPED_TEST(GemmKernel, RoundsSumsToBf16) {
  Rng rng(11);
  for (const auto& [m, n, k] : {std::array<Index, 3>{0, 5, 7},
                                {5, 0, 7},
                                {5, 7, 0},
                                {1, 1, 1},
                                {17, 7, 3},
                                {200, 1065, 129},
                                {1300, 70, 96},
                                {600, 400, 101},
                                {150, 160, 767},
                                {150, 160, 768},
                                {150, 160, 1535},
                                {150, 160, 1536},
                                {50, 40, 1537},
                                {70, 40, 3001}}) {
    Problem<TypeParam, Bfloat16> problem(m, n, k, Order::by_rows, Order::by_columns, rng, 0);
    const Operand<TypeParam> a(nullptr, problem.a.view.data, m, k), b(nullptr, problem.b.view.data, n, k);
    Matrix<Bfloat16> c(m, n, Order::by_rows, rng);
    const std::vector<Bfloat16> before = c.values;
    Gemm<TypeParam>::multiply_rounded(a, b.transposed(), c.view, problem.bias.data());
    const auto expected = problem.expected(false, true);
    const double epsilon = 4 * static_cast<double>(std::numeric_limits<TypeParam>::epsilon());
    for (Index row = 0; row < m; ++row) {
      for (Index column = 0; column < n; ++column) {
        const auto place = static_cast<std::size_t>(1 + row * n + column);
        const double value = expected.value[place], error = epsilon * expected.magnitude[place];
        ASSERT_NEAR(number(c.at(row, column)), value, std::abs(value) / 256 + error) << m << " " << n;
      }
      for (Index gap = n; gap < c.view.row_stride && row + 1 < m; ++gap) {
        const auto place = static_cast<std::size_t>(1 + row * c.view.row_stride + gap);
        ASSERT_EQ(c.values[place], before[place]) << "a gap between rows";
      }
    }
  }
}

TYPED_TEST(GemmKernel, RoundsTheSameForAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  for (const auto& [m, n, k] :
       {std::array<Index, 3>{300, 200, 96}, {150, 400, 768}, {150, 400, 1535}, {40, 30, 3001}}) {
    std::vector<std::vector<Bfloat16>> results;
    for (int count : {1, 2, 3, 9}) {
      omp_set_num_threads(count);
      Rng rng(12);
      Problem<TypeParam, Bfloat16> problem(m, n, k, Order::by_rows, Order::by_columns, rng, 0);
      const Operand<TypeParam> a(nullptr, problem.a.view.data, m, k), b(nullptr, problem.b.view.data, n, k);
      std::vector<Bfloat16> c(static_cast<std::size_t>(m * n));
      Gemm<TypeParam>::multiply_rounded(a, b.transposed(), dense_matrix(c.data(), m, n));
      results.push_back(c);
    }
    omp_set_num_threads(threads);
    for (const auto& result : results) EXPECT_TRUE(result == results[0]);
  }
}

TYPED_TEST(GemmKernel, DoesNotReadWhatItOverwrites) {
  Rng rng(7);
  Problem<TypeParam> problem(50, 40, 300, Order::by_rows, Order::by_rows, rng);
  const auto expected = problem.expected(false, false);
  for (Index row = 0; row < 50; ++row)
    std::fill_n(problem.c.view.data + row * problem.c.view.row_stride, 40,
                std::numeric_limits<TypeParam>::quiet_NaN());
  Gemm<TypeParam>::multiply(problem.a.read(), problem.b.read(), problem.c.view, false);
  problem.expect(expected);
}

// Blocks that overlap, too, pass it on to its own row alone.
TYPED_TEST(GemmKernel, PassesNotANumberOn) {
  Rng rng(8);
  Problem<TypeParam> problem(14, 40, 9, Order::by_rows, Order::by_rows, rng);
  problem.a.view.data[2 * problem.a.view.row_stride + 4] = std::numeric_limits<TypeParam>::quiet_NaN();
  Gemm<TypeParam>::multiply(problem.a.read(), problem.b.read(), problem.c.view, false);
  for (Index row = 0; row < 14; ++row) {
    for (Index column = 0; column < 40; ++column) EXPECT_EQ(std::isnan(problem.c.at(row, column)), row == 2);
  }
}

#if EXFUSION_AMX
TEST(AmxMicroKernel, GivesTheSameInVectorsWhereTilesAreNotPermitted) {
  if (!detail::amx_is_permitted()) GTEST_SKIP() << "all products run in vectors";
  using Kernel = detail::AmxMicroKernel;
  using Block = Kernel::Block;
  const typename Kernel::Registers registers;
  Rng rng(5);
  for (const Index depth : {16, 48}) {
    const Index numbers = 2 * depth;
    const Matrix<Bfloat16> a(Block::rows, numbers, Order::by_rows, rng, 0),
        b(numbers, Block::columns, Order::by_rows, rng, 0);
    std::vector<std::uint32_t> packed(static_cast<std::size_t>(Kernel::Pack::b_step(depth)));
    Kernel::Pack::b(b.read(), Kernel::Pack::b_step(depth), packed.data());
    const detail::RowsInPlace<PairedBfloat16, Block::rows> rows{a.view.data, a.view.row_stride};
    for (const Index columns : {Block::columns, Index{17}}) {
      Rng first(7), second(7);
      const Matrix<float> in_tiles(Block::rows, columns, Order::by_rows, first),
          in_vectors(Block::rows, columns, Order::by_rows, second);
      const std::vector<float> bias(static_cast<std::size_t>(columns), 0.5F);
      for (const detail::GemmEpilogue<float>& epilogue :
           {detail::GemmEpilogue<float>{.accumulate = true}, {.bias = bias.data()}, {}}) {
        Kernel::run(depth, rows, {packed.data()}, in_tiles.view, epilogue, true);
        Kernel::run(depth, rows, {packed.data()}, in_vectors.view, epilogue, false);
        for (std::size_t i = 0; i < in_tiles.values.size(); ++i)
          ASSERT_NEAR(in_tiles.values[i], in_vectors.values[i], 1e-4) << "depth " << depth << ", " << i;
      }
    }
  }
}
#endif

}  // namespace
}  // namespace exfusion::kernels
