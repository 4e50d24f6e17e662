#pragma once

#include <algorithm>
#include <cmath>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/rms_norm.hpp>
#include <exfusion/kernels/row_parts.hpp>

namespace exfusion::kernels {

template <Scalar T>
void RmsNorm<T>::forward(const T* x, const T* weight, Index rows, Index width, T eps, T* y, T* inverse_rms) {
  parallel_for(rows, rows_grain(width), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* from = x + row * width;
      const T squares = sum<T>(width, [=](Index i) { return from[i] * from[i]; });
      const T scale = 1 / std::sqrt(squares / static_cast<T>(width) + eps);
      write<T>({y + row * width, false}, 0, width, [=](Index i) { return from[i] * scale * weight[i]; });
      inverse_rms[row] = scale;
    }
  });
}

template <Scalar T>
Index RmsNorm<T>::scratch_size(Index rows, Index width) {
  return RowParts{rows}.count * width;
}

template <Scalar T>
void RmsNorm<T>::backward(const T* x, const T* weight, const T* inverse_rms, const T* dy, Index rows,
                          Index width, GradientTarget<T> dx, GradientTarget<T> dweight, T* scratch) {
  const RowParts parts{rows};
  parts.for_each([=](Index part, Index begin, Index end) {
    const GradientTarget<T> partial{scratch + part * width, true};
    if (dweight.data != nullptr) std::fill_n(partial.data, width, T{0});
    for (Index row = begin; row < end; ++row) {
      const T* from = x + row * width;
      const T* dy_row = dy + row * width;
      const T scale = inverse_rms[row];
      if (dweight.data != nullptr) {
        write(partial, 0, width, [=](Index i) { return dy_row[i] * (from[i] * scale); });
      }
      if (dx.data == nullptr) continue;
      const T sum_gx = sum<T>(width, [=](Index i) { return dy_row[i] * weight[i] * from[i]; });
      const T slope = sum_gx * scale * scale / static_cast<T>(width);
      write<T>({dx.data + row * width, dx.accumulate}, 0, width,
               [=](Index i) { return (dy_row[i] * weight[i] - from[i] * slope) * scale; });
    }
  });
  if (dweight.data != nullptr) parts.combine(scratch, width, width, dweight);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::RmsNorm);
