#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/matrix_vector.hpp>

namespace exfusion::kernels {

template <Scalar T>
void MatrixVector<T>::multiply(MatrixView<const T> w, const T* x, T* y, bool accumulate, const T* bias) {
  // Long enough to be worth a thread's while.
  constexpr Index numbers = 65536;
  const Index grain = std::max<Index>(1, numbers / std::max<Index>(1, w.columns));
  parallel_for(w.rows, grain, [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* weights = w.data + row * w.row_stride;
      const T product = sum<T>(w.columns, [=](Index i) { return weights[i] * x[i]; });
      y[row] = product + (bias == nullptr ? T{0} : bias[row]) + (accumulate ? y[row] : T{0});
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::MatrixVector);
