#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels {

/// x becomes e^(scale x), for x <= 0 in every lane and scale > 0, with a relative error below
/// 2e-7 + 8e-8 scale |x|. In float what is below e^-86 counts as that: next to e^0 it is nothing. NaN stays
/// NaN.
template <Scalar T>
class ExpBelowZero {
 public:
  constexpr explicit ExpBelowZero(T scale = 1)
      : factor_(single ? scale * log2e : scale), lowest_(T{-86} / scale) {}

  [[gnu::always_inline]] void operator()(typename Simd<T>::Vector& x) const {
    if constexpr (single) {
      approximate(x);
    } else {
      for (int i = 0; i < Simd<T>::lanes; ++i) x[i] = std::exp(factor_ * x[i]);
    }
  }

 private:
  static constexpr bool single = sizeof(T) == sizeof(float);
  static constexpr T log2e = static_cast<T>(1.44269504088896341);

  [[gnu::always_inline]] void approximate(typename Simd<T>::Vector& x) const {
    using Bits = typename Simd<std::uint32_t>::Vector;
    using Vector = typename Simd<T>::Vector;
    constexpr float magic = 12582912.0F;
    const Vector bounded = x < lowest_ ? lowest_ - Vector{} : x;
    // scale x log2 e = n + r with |r| <= 1/2; adding 1.5 * 2^23 rounds to an integer, kept in the low bits.
    const Vector shifted = bounded * factor_ + magic;
    const Vector n = shifted - magic;
    const Vector r = bounded * factor_ - n;
    // Approximation of 2^r with the smallest largest relative error among those that are 1 at 0.
    Vector p = 1.5595080913e-4F * r + 1.3406797079e-3F;
    p = p * r + 9.6176909283e-3F;
    p = p * r + 5.5503100157e-2F;
    p = p * r + 2.4022652209e-1F;
    p = p * r + 6.9314724207e-1F;
    p = p * r + 1.0F;
    x = reinterpret_cast<Vector>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
  }

  T factor_;  ///< Float: scale log2 e.
  T lowest_;  ///< Float.
};

#if defined(__AVX512F__)
/// Whether the CPU's square roots of a vector take less time than fast_sqrt's multiplications.
inline constexpr bool has_quick_roots = !multiplies_two_vectors;

/// The square roots of x >= 0.
[[gnu::always_inline]] inline void square_roots(Simd<float>::Vector& x) {
  constexpr __mmask16 all = 0xFFFF;  // with a mask only because g++ 12 warns of the form without one
  x = reinterpret_cast<Simd<float>::Vector>(_mm512_maskz_sqrt_ps(all, reinterpret_cast<__m512>(x)));
}
#else
inline constexpr bool has_quick_roots = false;
#endif

/// Stores a vector rounded to bfloat16, as Bfloat16::from does it; but the instruction that AVX512_BF16 has
/// for it takes numbers below the smallest normal one for 0.
template <Scalar T, int Bytes = simd_bytes>
[[gnu::always_inline]] inline void store_rounded(const typename Simd<T, Bytes>::Vector& numbers,
                                                 Bfloat16* to) {
#if defined(__AVX512BF16__)
  if constexpr (sizeof(T) == sizeof(float) && Bytes == 64) {
    const __m256bh halves = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(numbers));
    std::memcpy(to, &halves, sizeof halves);
    return;
  }
#endif
  constexpr int lanes = Simd<T, Bytes>::lanes;
  alignas(64) T each[lanes];
  Simd<T, Bytes>::store(numbers, each);
#pragma omp simd
  for (int i = 0; i < lanes; ++i) to[i] = Bfloat16::from(static_cast<float>(each[i]));
}

}  // namespace exfusion::kernels
