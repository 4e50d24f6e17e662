#pragma once

#include <algorithm>
#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion::kernels {

namespace detail {

/// total[c] = sum over r of x[r * stride + c] for c < `columns`, four rows at a time.
template <Scalar T>
void sum_rows_serial(const T* x, Index rows, Index columns, Index stride, T* total) {
  std::fill_n(total, columns, T{0});
  Index row = 0;
  for (; row + 4 <= rows; row += 4, x += 4 * stride) {
#pragma omp simd
    for (Index c = 0; c < columns; ++c)
      total[c] += (x[c] + x[stride + c]) + (x[2 * stride + c] + x[3 * stride + c]);
  }
  for (; row < rows; ++row, x += stride) {
#pragma omp simd
    for (Index c = 0; c < columns; ++c) total[c] += x[c];
  }
}

}  // namespace detail

template <Scalar T>
void Reduce<T>::sum_rows(const T* x, Index rows, Index columns, T scale, GradientTarget<T> sum) {
  constexpr Index most_parts = 16, smallest_part = 64;  // rows are cut into parts, each with sums of its own
  constexpr Index block = 256;                          // columns that one thread sums up at a time
  constexpr Index strip = 2048;                         // columns whose partial sums are kept at a time
  alignas(64) std::array<T, most_parts * strip> partial;
  const Index parts = std::clamp<Index>(rows / smallest_part, 1, most_parts);
  const Index part_rows = (rows + parts - 1) / parts;
  for (Index left = 0; left < columns; left += strip) {
    const Index width = std::min(strip, columns - left), blocks = (width + block - 1) / block;
    parallel_for(parts * blocks, 1, [&](Index task, Index) {
      const Index part = task / blocks, column = task % blocks * block,
                  row = std::min(rows, part * part_rows);
      detail::sum_rows_serial(x + row * columns + left + column, std::min(part_rows, rows - row),
                              std::min(block, width - column), columns,
                              partial.data() + part * strip + column);
    });
    for (Index c = 0; c < width; ++c) {
      T total{0};
      for (Index part = 0; part < parts; ++part) total += partial[static_cast<std::size_t>(part * strip + c)];
      T& target = sum.data[left + c];
      target = scale * total + (sum.accumulate ? target : T{0});
    }
  }
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Reduce);
