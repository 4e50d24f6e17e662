#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// Bytes of a vector register of the CPU that is compiled for.
#if defined(__AVX512F__)
inline constexpr int simd_bytes = 64;
#elif defined(__AVX__)
inline constexpr int simd_bytes = 32;
#else
inline constexpr int simd_bytes = 16;
#endif

/// Whether the CPU multiplies two vectors of 64 bytes at a time, as far as compilers tell: those with AMX do,
/// and Zen 5 if the compiler knows it (-march=znver5). Others that do are taken to multiply one.
#if defined(__AMX_BF16__) || defined(__AMXBF16__) || defined(__znver5__)
inline constexpr bool multiplies_two_vectors = true;
#else
inline constexpr bool multiplies_two_vectors = false;
#endif

/// A register of `Bytes` bytes in GCC's and Clang's vector extensions: arithmetic works lane by lane. Wider
/// registers than the CPU's are emulated by several. Functions pass vectors by reference, so that the width
/// never becomes part of a calling convention.
template <class T, int Bytes = simd_bytes>
requires std::is_arithmetic_v<T>
struct Simd {
  static constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
  using Vector [[gnu::vector_size(Bytes)]] = T;

  [[gnu::always_inline]] static void load(Vector& vector, const T* from) {
    std::memcpy(&vector, from, sizeof(Vector));
  }
  [[gnu::always_inline]] static void store(const Vector& vector, T* to) {
    std::memcpy(to, &vector, sizeof(Vector));
  }

  /// Transposes the square matrix whose rows are `rows[0 .. lanes - 1]`.
  [[gnu::always_inline]] static void transpose(Vector* rows) { exchange_blocks<lanes / 2>(rows); }

 private:
  // Exchanges the off-diagonal blocks of size `half` in every diagonal block of size 2 * half.
  template <int half>
  [[gnu::always_inline]] static void exchange_blocks(Vector* rows) {
    if constexpr (half > 0) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) {
        if ((i & half) == 0) exchange<half>(rows[i], rows[i + half], std::make_index_sequence<lanes>());
      }
      exchange_blocks<half / 2>(rows);
    }
  }
  template <int half, std::size_t... lane>
  [[gnu::always_inline]] static void exchange(Vector& upper, Vector& lower, std::index_sequence<lane...>) {
    const Vector a = upper, b = lower;
    upper = __builtin_shufflevector(a, b, ((lane & half) ? lanes + lane - half : lane)...);
    lower = __builtin_shufflevector(a, b, ((lane & half) ? lanes + lane : lane + half)...);
  }
};

}  // namespace exfusion::kernels
