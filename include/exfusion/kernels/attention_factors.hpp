#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <exfusion/kernels/attention_product.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/simd.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels::detail {

/// How the factors of attention's products are stored: one number in a packed element, or two that follow
/// each other along the inner dimension. The first factor has them in rows; in the second, a pair lies above
/// each other. They come from numbers in memory (`Source`), or have been computed in T.
template <class Numbers>
struct AttentionFactors {
  using Product = AttentionProduct<Numbers>;
  using Source = typename Numbers::Source;
  using T = typename Numbers::Sum;
  using Packed = typename Numbers::Packed;
  using S = Simd<T>;
  using Vector = typename S::Vector;
  using PackedVector = typename Simd<Packed>::Vector;
  static constexpr Index group = Numbers::group;

  /// Packed elements that `size` numbers along the inner dimension make.
  static constexpr Index depth_of(Index size) { return ceil_divide(size, group); }

  /// A number in memory, in full precision.
  static T exact(Source number) {
    if constexpr (std::same_as<Source, T>) {
      return number;
    } else {
      return static_cast<T>(static_cast<float>(number));
    }
  }

  /// Numbers of a first factor's row of `width`, with the zeros that make up a step along the inner
  /// dimension.
  static constexpr Index row_numbers(Index width) {
    constexpr Index step = group * Product::depth_step;
    return ceil_divide(width, step) * step;
  }

  /// A vector of a first factor: the packed elements from `element` on of a row of `size` numbers, zeros
  /// beyond its end.
  [[gnu::always_inline]] static void load(PackedVector& packed, const Source* row, Index element,
                                          Index size) {
    const Index first = element * group;
    if (first + group * S::lanes <= size) return Numbers::load(packed, row + first);
    Source rest[group * S::lanes] = {};
    if (first < size) std::copy(row + first, row + size, rest);
    Numbers::load(packed, rest);
  }

  /// A vector of a second factor: of a row that has `count` numbers left, and in pairs of the one `step`
  /// numbers behind it, which is zeros unless `complete`.
  [[gnu::always_inline]] static void pack(const Source* row, Index count, Index step, bool complete,
                                          Packed* to) {
    if (count >= S::lanes && complete) return Numbers::template copy<S::lanes>(row, step, to);
    for (Index i = 0; i < S::lanes; ++i)
      to[i] = i < count ? Numbers::element(row + i, step, complete) : Packed{0};
  }

  /// Stores computed numbers of a first factor's row from `column` on.
  [[gnu::always_inline]] static void store(const Vector& numbers, Packed* row, Index column) {
    if constexpr (group == 1) {
      S::store(numbers, row + column);
    } else {
      alignas(simd_bytes) Bfloat16 half[S::lanes];
      store_rounded<T>(numbers, half);
      std::memcpy(place(row, column), half, sizeof half);
    }
  }

  /// Zeros in place of `count` numbers of a first factor's row.
  static void clear(Packed* row, Index column, Index count) {
    std::memset(place(row, column), 0, static_cast<std::size_t>(count) * sizeof(Packed) / group);
  }

  /// Pairs of computed numbers that are above each other in a matrix.
  [[gnu::always_inline]] static PackedVector pairs(const Vector& lower, const Vector& upper) {
    alignas(simd_bytes) std::array<Bfloat16, 2 * S::lanes> halves;
    store_rounded<T>(lower, halves.data());
    store_rounded<T>(upper, halves.data() + S::lanes);
    return interleaved(std::bit_cast<typename Simd<std::uint16_t>::Vector>(halves),
                       std::make_index_sequence<2 * S::lanes>());
  }
  /// Stores them.
  [[gnu::always_inline]] static void store_pairs(const Vector& lower, const Vector& upper, Packed* to) {
    Simd<Packed>::store(pairs(lower, upper), to);
  }

 private:
  static char* place(Packed* row, Index number) {
    return reinterpret_cast<char*>(row) + number * static_cast<Index>(sizeof(Packed)) / group;
  }

  // Each number of the vector's lower half beside that of the upper one.
  template <std::size_t... i>
  [[gnu::always_inline]] static PackedVector interleaved(const typename Simd<std::uint16_t>::Vector& halves,
                                                         std::index_sequence<i...>) {
    return std::bit_cast<PackedVector>(
        __builtin_shufflevector(halves, halves, (i / 2 + i % 2 * S::lanes)...));
  }
};

}  // namespace exfusion::kernels::detail
