#pragma once

#include <cmath>
#include <cstdint>

#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels {

/// x becomes e^x, for x <= 0 in every lane, with a relative error below 2e-7 + 4e-8 |x|. In float what is
/// below -86 counts as -86: next to e^0 it is nothing. NaN stays NaN.
template <Scalar T>
[[gnu::always_inline]] inline void exp_below_zero(typename Simd<T>::Vector& x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    using Bits = typename Simd<std::uint32_t>::Vector;
    using Vector = typename Simd<T>::Vector;
    constexpr float log2e = 1.44269504088896341F, magic = 12582912.0F, lowest = -86.0F;
    const Vector bounded = x < lowest ? lowest - Vector{} : x;
    // x log2 e = n + r with |r| <= 1/2; adding 1.5 * 2^23 rounds to an integer, kept in the low bits.
    const Vector shifted = bounded * log2e + magic;
    const Vector n = shifted - magic;
    const Vector r = bounded * log2e - n;
    // Approximation of 2^r with the smallest largest relative error among those that are 1 at 0.
    Vector p = 1.5595080913e-4F * r + 1.3406797079e-3F;
    p = p * r + 9.6176909283e-3F;
    p = p * r + 5.5503100157e-2F;
    p = p * r + 2.4022652209e-1F;
    p = p * r + 6.9314724207e-1F;
    p = p * r + 1.0F;
    x = reinterpret_cast<Vector>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
  } else {
    for (int i = 0; i < Simd<T>::lanes; ++i) x[i] = std::exp(x[i]);
  }
}

}  // namespace exfusion::kernels
