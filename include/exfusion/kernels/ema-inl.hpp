#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ema.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Ema<T>::update(T* average, const T* x, Index size, T weight) {
  parallel_for(size, 16384, [=](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) average[i] += weight * (x[i] - average[i]);
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Ema);
