#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/mean_rows.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion::kernels {

template <Scalar T>
void MeanRows<T>::forward(const T* x, Index rows, Index columns, T* y) {
  Reduce<T>::sum_rows(x, rows, columns, 1 / static_cast<T>(rows), {y, false});
}

template <Scalar T>
void MeanRows<T>::backward(const T* dy, Index rows, Index columns, GradientTarget<T> dx) {
  const T scale = 1 / static_cast<T>(rows);
  parallel_for(rows, rows_grain(columns), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      write<T>({dx.data + row * columns, dx.accumulate}, 0, columns, [=](Index i) { return dy[i] * scale; });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::MeanRows);
