#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/add.hpp>
#include <exfusion/kernels/elementwise.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Add<T>::forward(const T* a, const T* b, T* y, Index size) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    write<T>({y, false}, begin, end, [=](Index i) { return a[i] + b[i]; });
  });
}

template <Scalar T>
void Add<T>::backward(const T* dy, GradientTarget<T> dx, Index size) {
  parallel_for(size, elementwise_grain,
               [=](Index begin, Index end) { write(dx, begin, end, [=](Index i) { return dy[i]; }); });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Add);
