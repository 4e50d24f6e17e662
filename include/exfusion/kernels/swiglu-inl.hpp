#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/swiglu.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Swiglu<T>::forward(const T* gate, const T* up, T* y, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    write<T>({y, false}, begin, end, [=](Index i) { return detail::Silu::value(gate[i]) * up[i]; });
  });
}

template <Scalar T>
void Swiglu<T>::backward(const T* gate, const T* up, const T* dy, GradientTarget<T> dgate,
                         GradientTarget<T> dup, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    if (dgate.data != nullptr) {
      write(dgate, begin, end, [=](Index i) { return dy[i] * up[i] * detail::Silu::slope(gate[i]); });
    }
    if (dup.data != nullptr) {
      write(dup, begin, end, [=](Index i) { return dy[i] * detail::Silu::value(gate[i]); });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Swiglu);
