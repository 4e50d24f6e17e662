#pragma once

#include <algorithm>
#include <cmath>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/layer_norm.hpp>
#include <exfusion/kernels/row_parts.hpp>

namespace exfusion::kernels {

namespace detail {

// dx (+)= (g - mean(g) - n mean(g n)) / std with g = dy weight and n the normalised row.
template <Scalar T>
void layer_norm_row_backward(const T* x, const T* weight, const T* dy, T mean, T inverse_std, Index width,
                             GradientTarget<T> dx) {
  const T sum_g = sum<T>(width, [=](Index i) { return dy[i] * weight[i]; });
  const T sum_gn = sum<T>(width, [=](Index i) { return dy[i] * weight[i] * (x[i] - mean); });
  const T mean_g = sum_g / static_cast<T>(width);
  const T slope = sum_gn * inverse_std * inverse_std / static_cast<T>(width);
  write(dx, 0, width,
        [=](Index i) { return (dy[i] * weight[i] - mean_g - (x[i] - mean) * slope) * inverse_std; });
}

}  // namespace detail

template <Scalar T>
void LayerNorm<T>::forward(const T* x, const T* weight, const T* bias, Index rows, Index width, T eps, T* y,
                           T* mean, T* inverse_std) {
  parallel_for(rows, rows_grain(width), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* from = x + row * width;
      const T m = sum<T>(width, [=](Index i) { return from[i]; }) / static_cast<T>(width);
      const T squares = sum<T>(width, [=](Index i) { return (from[i] - m) * (from[i] - m); });
      const T scale = 1 / std::sqrt(squares / static_cast<T>(width) + eps);
      write<T>({y + row * width, false}, 0, width,
               [=](Index i) { return (from[i] - m) * scale * weight[i] + bias[i]; });
      mean[row] = m;
      inverse_std[row] = scale;
    }
  });
}

template <Scalar T>
Index LayerNorm<T>::scratch_size(Index rows, Index width) {
  return RowParts{rows}.count * 2 * width;
}

template <Scalar T>
void LayerNorm<T>::backward(const T* x, const T* weight, const T* mean, const T* inverse_std, const T* dy,
                            Index rows, Index width, const LayerNormGradients<T>& gradients, T* scratch) {
  const RowParts parts{rows};
  const bool with_parameters = gradients.weight.data != nullptr || gradients.bias.data != nullptr;
  parts.for_each([=, &gradients](Index part, Index begin, Index end) {
    T* dweight = scratch + part * 2 * width;
    T* dbias = dweight + width;
    if (with_parameters) std::fill_n(dweight, 2 * width, T{0});
    for (Index row = begin; row < end; ++row) {
      const T* from = x + row * width;
      const T* dy_row = dy + row * width;
      const T m = mean[row], scale = inverse_std[row];
      if (with_parameters) {
#pragma omp simd
        for (Index i = 0; i < width; ++i) {
          dweight[i] += dy_row[i] * ((from[i] - m) * scale);
          dbias[i] += dy_row[i];
        }
      }
      if (gradients.x.data == nullptr) continue;
      detail::layer_norm_row_backward<T>(from, weight, dy_row, m, scale, width,
                                         {gradients.x.data + row * width, gradients.x.accumulate});
    }
  });
  if (gradients.weight.data != nullptr) parts.combine(scratch, 2 * width, width, gradients.weight);
  if (gradients.bias.data != nullptr) parts.combine(scratch + width, 2 * width, width, gradients.bias);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::LayerNorm);
