#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/swiglu.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Swiglu<T>::forward(const T* gate, const T* up, T* y, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    write_streaming<T>(
        {y, false}, begin, end, [=](Index i) { return detail::Silu::value(gate[i]) * up[i]; }, gate, up);
  });
}

template <Scalar T>
void Swiglu<T>::backward(const T* gate, const T* up, const T* dy, GradientTarget<T> dgate,
                         GradientTarget<T> dup, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    if (dgate.data != nullptr) {
      write_streaming(
          dgate, begin, end, [=](Index i) { return dy[i] * up[i] * detail::Silu::slope(gate[i]); }, dy, up,
          gate);
    }
    if (dup.data != nullptr) {
      write_streaming(
          dup, begin, end, [=](Index i) { return dy[i] * detail::Silu::value(gate[i]); }, dy, gate);
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Swiglu);
