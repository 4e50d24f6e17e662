#pragma once

#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/fast_math.hpp>
#include <exfusion/kernels/softmax.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Softmax<T>::forward(const T* z, Index rows, Index width, T* p) {
  parallel_for(rows, rows_grain(width), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* from = z + row * width;
      T* to = p + row * width;
      const T largest = maximum(from, width, -std::numeric_limits<T>::infinity());
      write<T>({to, false}, 0, width, [=](Index i) { return fast_exp(from[i] - largest); });
      const T scale = 1 / sum<T>(width, [=](Index i) { return to[i]; });
      write<T>({to, false}, 0, width, [=](Index i) { return to[i] * scale; });
    }
  });
}

template <Scalar T>
void Softmax<T>::backward(const T* p, const T* dp, Index rows, Index width, GradientTarget<T> dz) {
  parallel_for(rows, rows_grain(width), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* p_row = p + row * width;
      const T* dp_row = dp + row * width;
      const T mean = sum<T>(width, [=](Index i) { return p_row[i] * dp_row[i]; });
      write<T>({dz.data + row * width, dz.accumulate}, 0, width,
               [=](Index i) { return p_row[i] * (dp_row[i] - mean); });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Softmax);
