#pragma once

#include <algorithm>
#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/kernels/elementwise.hpp>

// Sums along the rows of a matrix, of numbers that are there or that are computed on the way.

namespace exfusion::kernels::detail {

/// Columns whose sums are computed at a time: so many that rows are read in long stretches.
inline constexpr Index row_sums_strip = 2048;

/// sum[c] (+)= scale * (the sum of column c), for a matrix [rows, columns] that is cut into parts of rows:
/// `add_up(row, count, column, width, total)` writes the sums of `count` rows and `width` columns to total
/// [width]. `sum` may have no data. Parallel, in an order of summation that depends on the sizes alone.
template <Scalar T, class AddUp>
void sum_rows_in_parts(Index rows, Index columns, T scale, GradientTarget<T> sum, const AddUp& add_up) {
  constexpr Index room =
      32 * row_sums_strip * static_cast<Index>(sizeof(float)) / static_cast<Index>(sizeof(T));
  constexpr Index smallest_part = 16;
  alignas(64) std::array<T, room> partial;
  for (Index left = 0; left < columns; left += row_sums_strip) {
    const Index width = std::min(row_sums_strip, columns - left);
    const Index parts = std::clamp<Index>(rows / smallest_part, 1, std::min<Index>(room / width, 128));
    const Index part_rows = (rows + parts - 1) / parts;
    parallel_for(parts, 1, [&](Index part, Index) {
      const Index row = std::min(rows, part * part_rows);
      add_up(row, std::min(part_rows, rows - row), left, width, partial.data() + part * width);
    });
    if (sum.data == nullptr) continue;
    T* total = partial.data();
    for (Index part = 1; part < parts; ++part) {
      const T* more = total + part * width;
#pragma omp simd
      for (Index c = 0; c < width; ++c) total[c] += more[c];
    }
    write<T>({sum.data + left, sum.accumulate}, 0, width, [=](Index c) { return scale * total[c]; });
  }
}

/// total[c] = the sum of rows x[r] for c < `columns`, four rows at a time; `row_of(r)` gives row r < `rows`.
template <Scalar T, class RowOf>
void sum_rows_serial(Index rows, Index columns, T* total, const RowOf& row_of) {
  std::fill_n(total, columns, T{0});
  const T* x[4];
  for (Index row = 0; row < rows; ++row) {  // `row_of` stands here once: what it computes may be much code
    x[row % 4] = row_of(row);
    if (row % 4 == 3) {
#pragma omp simd
      for (Index c = 0; c < columns; ++c) total[c] += (x[0][c] + x[1][c]) + (x[2][c] + x[3][c]);
    }
  }
  for (Index i = 0; i < rows % 4; ++i) {
#pragma omp simd
    for (Index c = 0; c < columns; ++c) total[c] += x[i][c];
  }
}

/// The sums of a matrix that `compute(row, column, width, values)` computes, a part of a row at a time. Each
/// part is computed once.
template <Scalar T, class Compute>
void sum_computed_rows(Index rows, Index columns, GradientTarget<T> sum, const Compute& compute) {
  sum_rows_in_parts(rows, columns, T{1}, sum,
                    [&](Index row, Index count, Index column, Index width, T* total) {
                      alignas(64) std::array<T, 4 * row_sums_strip> values;
                      sum_rows_serial(count, width, total, [&](Index r) {
                        T* computed = values.data() + r % 4 * row_sums_strip;
                        compute(row + r, column, width, computed);
                        return computed;
                      });
                    });
}

}  // namespace exfusion::kernels::detail
