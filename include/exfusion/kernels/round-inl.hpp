#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Round<T>::to_bfloat16(const T* x, Bfloat16* y, Index size) {
  parallel_for(size, elementwise_grain,
               [=](Index begin, Index end) { to_bfloat16_serial(x + begin, y + begin, end - begin); });
}

template <Scalar T>
void Round<T>::to_bfloat16_serial(const T* x, Bfloat16* y, Index size) {
  using S = Simd<T>;
  typename S::Vector numbers;
  for (; size >= S::lanes; size -= S::lanes, x += S::lanes, y += S::lanes) {
    S::load(numbers, x);
    store_rounded<T>(numbers, y);
  }
  if (size == 0) return;
  T rest[S::lanes] = {};
  Bfloat16 rounded[S::lanes];
  std::copy_n(x, size, rest);
  S::load(numbers, rest);
  store_rounded<T>(numbers, rounded);
  std::copy_n(rounded, size, y);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Round);
