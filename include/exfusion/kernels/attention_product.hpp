#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels::detail {

/// The matrix products of attention: small, on the stack, operands padded to full register tiles. Their depth
/// counts packed elements of `Numbers`.
template <class Numbers>
struct AttentionProduct {
  using T = typename Numbers::Sum;
  using Packed = typename Numbers::Packed;
  using S = Simd<T>;
  using PackedVector = typename Simd<Packed>::Vector;
  using Vector = typename S::Vector;
  static constexpr Index lanes = S::lanes;
  static constexpr Index panel = 2 * lanes;  ///< Columns of a register tile.
  /// Rows of a register tile: their sums, two vectors of B and a factor take 15 of 16 registers, 27 of 32.
#if defined(__AVX512F__) || defined(__ARM_NEON)
  static constexpr Index tile_rows = 12;
#else
  static constexpr Index tile_rows = 6;
#endif

  /// A [rows, depth], element (r, k) at `a[r * a_row + k * a_depth]`; B [depth, columns]; C [rows, columns].
  const Packed* a;
  Index a_row, a_depth;
  const Packed* b;
  Index b_row;
  T* c;
  Index c_row;

  struct Range {
    Index begin, end;
  };

  /// What becomes of the numbers that C held.
  struct Former {
    bool counts = false;
    const T* factors = nullptr;  ///< [rows]: they are multiplied by these first, unless null.
  };

  /// C = A B, plus what C held if that `counts`. Rows and columns are rounded up to whole tiles and vectors.
  /// `range(row)` tells which part of the depth the tile of rows from `row` on needs.
  template <class DepthOfRow>
  void run(Index rows, Index columns, Former former, const DepthOfRow& range) const {
    for (Index column = 0; column < columns; column += panel) {
      if (columns - column > lanes) {
        run_panel<2>(rows, column, former, range);
      } else {
        run_panel<1>(rows, column, former, range);
      }
    }
  }

 private:
  template <int vectors, class DepthOfRow>
  void run_panel(Index rows, Index column, Former former, const DepthOfRow& range) const {
    for (Index row = 0; row < rows; row += tile_rows) {
      const Range depth = range(row);
      run_tile<vectors>(row, column, depth, former);
    }
  }

  template <int vectors>
  [[gnu::always_inline]] void run_tile(Index row, Index column, Range depth, Former former) const {
    Vector sums[tile_rows][vectors] = {};
    const Packed* column_of_a = a + row * a_row + depth.begin * a_depth;
    const Packed* row_of_b = b + depth.begin * b_row + column;
#pragma GCC unroll 2
    for (Index k = depth.begin; k < depth.end; ++k) {
      PackedVector right[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        PackedVector loaded;
        Simd<Packed>::load(loaded, row_of_b + v * lanes);
        keep_in_register(loaded);
        right[v] = loaded;
      }
#pragma GCC unroll 12
      for (int r = 0; r < tile_rows; ++r) {
        PackedVector factor = column_of_a[r * a_row] - PackedVector{};
        keep_in_register(factor);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
          Numbers::template multiply_add<simd_bytes>(sums[r][v], factor, right[v]);
      }
      column_of_a += a_depth;
      row_of_b += b_row;
    }
    store<vectors>(sums, row, column, former);
  }

  template <int vectors>
  [[gnu::always_inline]] void store(Vector (&sums)[tile_rows][vectors], Index row, Index column,
                                    Former former) const {
    T* to = c + row * c_row + column;
#pragma GCC unroll 12
    for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        if (former.counts) {
          Vector before;
          S::load(before, to + v * lanes);
          sums[r][v] += former.factors == nullptr ? before : former.factors[row + r] * before;
        }
        S::store(sums[r][v], to + v * lanes);
      }
      to += c_row;
    }
  }

  // Otherwise GCC loads the same elements once for each product.
  [[gnu::always_inline]] static void keep_in_register([[maybe_unused]] PackedVector& vector) {
#if defined(__AVX512F__) && !defined(__clang__)
    asm("" : "+v"(vector));
#elif defined(__AVX__) && !defined(__clang__)
    asm("" : "+x"(vector));
#endif
  }
};

}  // namespace exfusion::kernels::detail
