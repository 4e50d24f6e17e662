#pragma once

#include <algorithm>
#include <concepts>

#include <exfusion/core/scalar.hpp>
#include <exfusion/kernels/amx.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels::detail {

/// The matrix products of attention: small, on the stack, operands padded to full register tiles. Their depth
/// counts packed elements of `Numbers`.
template <class Numbers>
struct AttentionProduct {
  struct Empty {};
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

  /// Whether the registers of AMX hold tiles where the process may use them: `tile_rows` rows of sums.
  static constexpr bool in_tile_registers = EXFUSION_AMX && std::same_as<Numbers, PairedBfloat16>;
#if EXFUSION_AMX
  /// How many packed elements along the inner dimension are multiplied at a time.
  static constexpr Index depth_step = in_tile_registers ? AmxTile::pairs : 1;
  /// While it exists, this thread's registers are set up.
  using Registers = std::conditional_t<in_tile_registers, AmxRegistersIfPermitted<tile_rows>, Empty>;
#else
  static constexpr Index depth_step = 1;
  using Registers = Empty;
#endif
  /// Columns that are worth one call of `run`.
  static constexpr Index strip = in_tile_registers ? 2 * panel : panel;
  /// Numbers behind a first factor's row that products may meet, and that must be zeros: those that only
  /// other rows of its tile need, and those that make up a step.
  static constexpr Index zeros = tile_rows + (depth_step > 1 ? depth_step * Numbers::group : 0);

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

  /// C = A B, plus what C held if that `counts`. Rows and columns are rounded up to whole tiles and vectors,
  /// the depth to whole steps. `range(row)` tells which part of the depth the tile of rows from `row` on
  /// needs. Tile registers must have been set up.
  template <class DepthOfRow>
  void run(Index rows, Index columns, Former former, const DepthOfRow& range) const {
    const auto steps = [&](Index row) {
      const Range depth = range(row);
      return Range{depth.begin / depth_step * depth_step,
                   (depth.end + depth_step - 1) / depth_step * depth_step};
    };
#if EXFUSION_AMX
    if constexpr (in_tile_registers) {
      if (amx_is_permitted()) return run_in_tile_registers(rows, columns, former, steps);
    }
#endif
    run_in_vectors(rows, columns, former, steps);
  }

 private:
  template <class DepthOfRow>
  void run_in_vectors(Index rows, Index columns, Former former, const DepthOfRow& range) const {
    for (Index column = 0; column < columns; column += panel) {
      if (columns - column > lanes) {
        run_panel<2>(rows, column, former, range);
      } else {
        run_panel<1>(rows, column, former, range);
      }
    }
  }

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
  [[gnu::always_inline]] void store(const Vector (&sums)[tile_rows][vectors], Index row, Index column,
                                    Former former) const {
    T* to = c + row * c_row + column;
#pragma GCC unroll 12
    for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        Vector value = sums[r][v], before;
        if (former.counts) {
          S::load(before, to + v * lanes);
          value += former.factors == nullptr ? before : former.factors[row + r] * before;
        }
        S::store(value, to + v * lanes);
      }
      to += c_row;
    }
  }

#if EXFUSION_AMX
  template <class DepthOfRow>
  void run_in_tile_registers(Index rows, Index columns, Former former, const DepthOfRow& range) const {
    for (Index column = 0; column < columns; column += 4 * lanes) {
      const Index tiles = (columns - column + lanes - 1) / lanes;
      for (Index row = 0; row < rows; row += tile_rows) {
        const Range depth = range(row);
        if (former.counts && former.factors != nullptr)
          scale(row, column, std::min<Index>(tiles, 4), former.factors + row);
        if (tiles >= 4) {
          multiply_tiles<4>(row, column, depth, former.counts);
        } else if (tiles == 3) {
          multiply_tiles<3>(row, column, depth, former.counts);
        } else if (tiles == 2) {
          multiply_tiles<2>(row, column, depth, former.counts);
        } else {
          multiply_tiles<1>(row, column, depth, former.counts);
        }
      }
    }
  }

  void scale(Index row, Index column, Index tiles, const T* factors) const {
    for (Index r = 0; r < tile_rows; ++r) {
      T* to = c + (row + r) * c_row + column;
      for (Index i = 0; i < tiles * lanes; ++i) to[i] *= factors[r];
    }
  }

  // `count` tiles of C beside each other.
  template <int count>
  void multiply_tiles(Index row, Index column, Range depth, bool adds) const {
    constexpr auto bytes = [](Index elements) { return static_cast<std::size_t>(elements) * sizeof(Packed); };
    T* to = c + row * c_row + column;
    asm volatile("" ::: "memory");  // what is loaded has been written
    if (adds) {
      _tile_loadd(0, to, bytes(c_row));
      if constexpr (count > 1) _tile_loadd(1, to + lanes, bytes(c_row));
      if constexpr (count > 2) _tile_loadd(2, to + 2 * lanes, bytes(c_row));
      if constexpr (count > 3) _tile_loadd(3, to + 3 * lanes, bytes(c_row));
    } else {
      _tile_zero(0);
      if constexpr (count > 1) _tile_zero(1);
      if constexpr (count > 2) _tile_zero(2);
      if constexpr (count > 3) _tile_zero(3);
    }
    for (Index k = depth.begin; k < depth.end; k += depth_step) {
      const Packed* right = b + k * b_row + column;
      _tile_loadd(4, a + row * a_row + k, bytes(a_row));
      _tile_loadd(5, right, bytes(b_row));
      _tile_dpbf16ps(0, 4, 5);
      if constexpr (count > 1) {
        _tile_loadd(6, right + lanes, bytes(b_row));
        _tile_dpbf16ps(1, 4, 6);
      }
      if constexpr (count > 2) {
        _tile_loadd(7, right + 2 * lanes, bytes(b_row));
        _tile_dpbf16ps(2, 4, 7);
      }
      if constexpr (count > 3) {
        _tile_loadd(5, right + 3 * lanes, bytes(b_row));
        _tile_dpbf16ps(3, 4, 5);
      }
    }
    _tile_stored(0, to, bytes(c_row));
    if constexpr (count > 1) _tile_stored(1, to + lanes, bytes(c_row));
    if constexpr (count > 2) _tile_stored(2, to + 2 * lanes, bytes(c_row));
    if constexpr (count > 3) _tile_stored(3, to + 3 * lanes, bytes(c_row));
    asm volatile("" ::: "memory");
  }
#endif

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
