#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstring>

#include <exfusion/kernels/attention_product.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels::detail {

/// How the factors of attention's products are stored: numbers as they are, or (`PairedBfloat16`) rounded,
/// two that follow each other along the inner dimension in one packed element. The first factor has them in
/// rows; in the second, a pair lies above each other.
template <class Numbers>
struct AttentionFactors {
  using Product = AttentionProduct<Numbers>;
  using T = typename Numbers::Sum;
  using Packed = typename Numbers::Packed;
  using S = Simd<T>;
  using Vector = typename S::Vector;
  static constexpr Index group = Numbers::group;

  /// Packed elements that `size` numbers along the inner dimension make.
  static constexpr Index depth_of(Index size) { return (size + group - 1) / group; }

  /// Numbers of a first factor's row of `width`, with the zeros that make up a step along the inner
  /// dimension.
  static constexpr Index row_numbers(Index width) {
    constexpr Index step = group * Product::depth_step;
    return (width + step - 1) / step * step;
  }

  /// Numbers of a row of `size` from `column` on, zeros beyond its end.
  [[gnu::always_inline]] static void load(Vector& numbers, const T* row, Index column, Index size) {
    if (column + S::lanes <= size) {
      S::load(numbers, row + column);
      return;
    }
    alignas(Vector) T rest[S::lanes] = {};
    if (column < size) std::copy(row + column, row + size, rest);
    S::load(numbers, rest);
  }

  /// Stores numbers of a first factor's row from `column` on.
  [[gnu::always_inline]] static void store(const Vector& numbers, Packed* row, Index column) {
    if constexpr (group == 1) {
      S::store(numbers, row + column);
    } else {
      const Half half = __builtin_convertvector(rounded(numbers), Half);
      std::memcpy(place(row, column), &half, sizeof half);
    }
  }

  /// Zeros in place of `count` numbers of a first factor's row.
  static void clear(Packed* row, Index column, Index count) {
    std::memset(place(row, column), 0, static_cast<std::size_t>(count) * sizeof(Packed) / group);
  }

  /// Pairs of numbers that are above each other in a matrix.
  [[gnu::always_inline]] static typename Simd<Packed>::Vector pairs(const Vector& lower,
                                                                    const Vector& upper) {
    return rounded(lower) | rounded(upper) << 16;
  }
  /// Stores them.
  [[gnu::always_inline]] static void store_pairs(const Vector& lower, const Vector& upper, Packed* to) {
    Simd<Packed>::store(pairs(lower, upper), to);
  }

 private:
  using Words = typename Simd<std::uint32_t>::Vector;
  using Half [[gnu::vector_size(simd_bytes / 2)]] = std::uint16_t;

  static char* place(Packed* row, Index number) {
    return reinterpret_cast<char*>(row) + number * static_cast<Index>(sizeof(Packed)) / group;
  }

  // The bits of Bfloat16::from, in the lower halves.
  [[gnu::always_inline]] static Words rounded(const Vector& numbers) {
    const auto words = reinterpret_cast<Words>(numbers);
    const Words nearest = words + 0x7FFFU + ((words >> 16) & 1U);
    const auto is_nan = numbers != numbers;  // NOLINT(misc-redundant-expression): not of NaN
    return (is_nan ? words | 0x400000U : nearest) >> 16;
  }
};

/// Calls `body(factors)` with the AttentionFactors that are wanted.
template <Scalar T, class Body>
void with_attention_factors(bool rounds, const Body& body) {
  if constexpr (std::same_as<T, float>) {
    if (rounds) return body(AttentionFactors<PairedBfloat16>());
  }
  body(AttentionFactors<PlainNumbers<T>>());
}

}  // namespace exfusion::kernels::detail
