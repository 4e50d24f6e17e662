#pragma once

#include <algorithm>

#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/row_sums.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Reduce<T>::sum_rows(const T* x, Index rows, Index columns, T scale, GradientTarget<T> sum) {
  detail::sum_rows_in_parts(
      rows, columns, scale, sum, [=](Index row, Index count, Index column, Index width, T* total) {
        const T* first = x + row * columns + column;
        detail::sum_rows_serial(count, width, total, [=](Index r) { return first + r * columns; });
      });
}

template <Scalar T>
void Reduce<T>::sum_rows(const Bfloat16* x, Index rows, Index columns, GradientTarget<T> sum) {
  detail::sum_computed_rows(rows, columns, sum, [=](Index row, Index column, Index width, T* exact) {
    const Bfloat16* from = x + row * columns + column;
#pragma omp simd
    for (Index c = 0; c < width; ++c) exact[c] = static_cast<T>(static_cast<float>(from[c]));
  });
}

template <Scalar T>
void Reduce<T>::round_and_sum_rows(const T* x, Bfloat16* rounded, Index rows, Index columns,
                                   GradientTarget<T> sum) {
  detail::sum_rows_in_parts(rows, columns, T{1}, sum,
                            [=](Index row, Index count, Index column, Index width, T* total) {
                              const Index first = row * columns + column;
                              detail::sum_rows_serial(count, width, total, [=](Index r) {
                                const T* from = x + first + r * columns;
                                Bfloat16* to = rounded + first + r * columns;
#pragma omp simd
                                for (Index c = 0; c < width; ++c)
                                  to[c] = Bfloat16::from(static_cast<float>(from[c]));
                                return from;
                              });
                            });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Reduce);
