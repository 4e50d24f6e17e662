#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/round.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Round<T>::to_bfloat16(const T* x, Bfloat16* y, Index size) {
  parallel_for(size, elementwise_grain,
               [=](Index begin, Index end) { to_bfloat16_serial(x + begin, y + begin, end - begin); });
}

template <Scalar T>
void Round<T>::to_bfloat16_serial(const T* x, Bfloat16* y, Index size) {
#pragma omp simd
  for (Index i = 0; i < size; ++i) y[i] = Bfloat16::from(static_cast<float>(x[i]));
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Round);
