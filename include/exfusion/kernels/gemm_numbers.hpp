#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/kernels/simd.hpp>

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

// What a matrix product multiplies: how numbers of a `Source` are packed, and how packed numbers are
// multiplied and added to sums in `Sum`. `group` numbers that follow each other along the inner dimension
// make one packed element.

namespace exfusion::kernels::detail {

/// Elements of one number each.
template <Scalar T>
struct SingleNumbers {
  using Sum = T;
  using Packed = T;
  static constexpr Index group = 1;

  template <int Bytes>
  [[gnu::always_inline]] static void multiply_add(typename Simd<T, Bytes>::Vector& sum,
                                                  const typename Simd<T, Bytes>::Vector& factor,
                                                  const typename Simd<T, Bytes>::Vector& row) {
    sum += factor * row;
  }
};

/// Numbers multiplied as they are.
template <Scalar T>
struct PlainNumbers : SingleNumbers<T> {
  using Source = T;
  using Packed = T;

  /// Columns of C up to which packing A takes longer than it saves. Rows in place hold up only a CPU that
  /// multiplies two vectors at a time.
  static constexpr Index most_columns_in_place =
      multiplies_two_vectors ? 128 : std::numeric_limits<Index>::max();

  static Packed element(const Source* from, Index /*step*/, bool /*complete*/) { return *from; }
  /// The element that lies at `from` as a packed one does. Not every kind of numbers has it.
  [[gnu::always_inline]] static Packed in_place(const Source* from) { return *from; }
  /// `count` elements that lie side by side.
  template <int count>
  [[gnu::always_inline]] static void copy(const Source* from, Index /*step*/, Packed* to) {
    std::memcpy(to, from, count * sizeof(T));
  }
  /// A vector of elements of numbers that lie side by side along the inner dimension.
  template <class Vector>
  [[gnu::always_inline]] static void load(Vector& vector, const Source* from) {
    std::memcpy(&vector, from, sizeof vector);
  }
};

/// bfloat16 numbers, widened (which is exact) when they are packed: for CPUs that cannot multiply them.
template <Scalar T>
struct WidenedBfloat16 : SingleNumbers<T> {
  using Source = Bfloat16;
  using Packed = T;

  static Packed element(const Source* from, Index /*step*/, bool /*complete*/) {
    return static_cast<T>(static_cast<float>(*from));
  }
  template <int count>
  [[gnu::always_inline]] static void copy(const Source* from, Index /*step*/, Packed* to) {
    for (int i = 0; i < count; ++i) to[i] = static_cast<T>(static_cast<float>(from[i]));
  }
  template <class Vector>
  [[gnu::always_inline]] static void load(Vector& vector, const Source* from) {
    alignas(64) Packed widened[sizeof vector / sizeof(Packed)];
    copy<sizeof vector / sizeof(Packed)>(from, 0, widened);
    std::memcpy(&vector, widened, sizeof vector);
  }
};

/// Pairs of bfloat16 numbers, whose two products are added to one sum at a time: the first number is the
/// lower half of the packed element. An instruction of AVX512_BF16; elsewhere two multiply-adds.
struct PairedBfloat16 {
  using Sum = float;
  using Source = Bfloat16;
  using Packed = std::uint32_t;
  static constexpr Index group = 2;
  static constexpr Index most_columns_in_place = std::numeric_limits<Index>::max();  ///< It always does.

  /// The number at `from` and the one `step` further; 0 in its place where the matrix has ended.
  static Packed element(const Source* from, Index step, bool complete) {
    return from->bits | static_cast<Packed>(complete ? from[step].bits : 0) << 16;
  }
  [[gnu::always_inline]] static Packed in_place(const Source* from) {
    Packed pair;
    std::memcpy(&pair, from, sizeof pair);
    return pair;
  }
  template <int count>
  [[gnu::always_inline]] static void copy(const Source* from, Index step, Packed* to) {
    for (int i = 0; i < count; ++i) to[i] = element(from + i, step, true);
  }
  template <class Vector>
  [[gnu::always_inline]] static void load(Vector& vector, const Source* from) {
    std::memcpy(&vector, from, sizeof vector);
  }
  template <int Bytes>
  [[gnu::always_inline]] static void multiply_add(typename Simd<float, Bytes>::Vector& sum,
                                                  const typename Simd<Packed, Bytes>::Vector& factor,
                                                  const typename Simd<Packed, Bytes>::Vector& row) {
#if defined(__AVX512BF16__)
    if constexpr (Bytes == 64) {
      sum =
          (typename Simd<float, Bytes>::Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)factor, (__m512bh)row);
      return;
    }
#endif
    using Vector = typename Simd<float, Bytes>::Vector;
    sum += (Vector)(factor << 16) * (Vector)(row << 16);
    sum += (Vector)(factor & 0xFFFF0000U) * (Vector)(row & 0xFFFF0000U);
  }
};

/// How this CPU multiplies bfloat16 numbers with sums in T.
#if defined(__AVX512BF16__)
template <Scalar T>
using Bfloat16Numbers = std::conditional_t<std::same_as<T, float>, PairedBfloat16, WidenedBfloat16<T>>;
#else
template <Scalar T>
using Bfloat16Numbers = WidenedBfloat16<T>;
#endif

}  // namespace exfusion::kernels::detail
