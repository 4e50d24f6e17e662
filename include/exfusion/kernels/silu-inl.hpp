#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/silu.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Silu<T>::forward(const T* x, T* y, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    write_streaming<T>(
        {y, false}, begin, end, [=](Index i) { return detail::Silu::value(x[i]); }, x);
  });
}

template <Scalar T>
void Silu<T>::backward(const T* x, const T* dy, GradientTarget<T> dx, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    write_streaming(
        dx, begin, end, [=](Index i) { return dy[i] * detail::Silu::slope(x[i]); }, x, dy);
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Silu);
