#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include <exfusion/kernels/gemm_micro.hpp>

namespace exfusion::kernels::detail {

/// Copies parts of A and B into the order in which the micro-kernel reads them.
template <Scalar T, int Bytes>
struct GemmPack {
  using Block = GemmBlock<T, Bytes>;
  using S = Simd<T, Bytes>;
  using Vector = typename S::Vector;

  /// Elements from one packed panel of `Block::rows` rows of A to the next: a cache line more than a panel
  /// has, so that panels do not fall on the same cache sets and whole vectors may be copied.
  static constexpr Index a_step(Index depth) { return (Block::rows * depth + 2 * line - 1) / line * line; }
  /// The same for panels of `Block::columns` columns of B.
  static constexpr Index b_step(Index depth) { return Block::columns * depth; }

  /// Rows of A in panels of `Block::rows`, padded with zeros: column k of panel p starts at
  /// p * a_step + k * rows.
  static void a(MatrixView<const T> a, Index step, T* packed) {
    if (a.column_stride == 1) {
      a_by_rows(a, step, packed);
    } else {
      a_by_columns(a, step, packed);
    }
  }

  /// Columns of B in panels of `Block::columns`, padded with zeros: row k of panel p starts at
  /// p * b_step + k * columns.
  static void b(MatrixView<const T> b, Index step, T* packed) {
    const Index full_columns = b.columns / Block::columns * Block::columns;
    const auto full = b.block(0, 0, b.rows, full_columns);
    if (b.column_stride == 1) {
      b_by_rows(full, step, packed);
    } else {
      b_by_columns(full, step, packed);
    }
    if (full_columns < b.columns) {
      b_rest(b.block(0, full_columns, b.rows, b.columns - full_columns),
             packed + full_columns / Block::columns * step);
    }
  }

 private:
  static constexpr Index line = 64 / static_cast<Index>(sizeof(T));

  static void a_by_rows(MatrixView<const T> a, Index step, T* packed) {
    for (Index row = 0; row < a.rows; row += Block::rows, packed += step) {
      const Index rows = std::min<Index>(Block::rows, a.rows - row);
      const T* from = a.data + row * a.row_stride;
      for (Index k = 0; k < a.columns; ++k) {
        T* to = packed + k * Block::rows;
        for (Index r = 0; r < rows; ++r) to[r] = from[r * a.row_stride + k];
        std::fill(to + rows, to + Block::rows, T{0});
      }
    }
  }

  static void a_by_columns(MatrixView<const T> a, Index step, T* packed) {
    // Whole vectors are copied; what is too much is overwritten by the next column or falls between panels.
    constexpr int copied = std::bit_ceil(static_cast<unsigned>(Block::rows));
    for (Index k = 0; k < a.columns; ++k) {
      const T* from = a.data + k * a.column_stride;
      T* to = packed + k * Block::rows;
      Index row = 0;
      for (; row + copied <= a.rows; row += Block::rows, to += step) {
        __builtin_prefetch(from + row + 8 * a.column_stride);
        copy_fixed<copied>(from + row, to);
      }
      for (; row < a.rows; row += Block::rows, to += step)
        copy_padded(from + row, std::min<Index>(Block::rows, a.rows - row), Block::rows, to);
    }
  }

  template <int count>
  [[gnu::always_inline]] static void copy_fixed(const T* from, T* to) {
    std::memcpy(to, from, count * sizeof(T));
  }

  static void copy_padded(const T* from, Index count, Index padded, T* to) {
    std::fill(std::copy_n(from, count, to), to + padded, T{0});
  }

  static void b_by_rows(MatrixView<const T> b, Index step, T* packed) {
    for (Index k = 0; k < b.rows; ++k, packed += Block::columns) {
      const T* from = b.data + k * b.row_stride;
      T* to = packed;
      for (Index column = 0; column < b.columns; column += Block::columns, to += step) {
        __builtin_prefetch(from + column + 8 * b.row_stride);
        copy_fixed<Block::columns>(from + column, to);
      }
    }
  }

  static void b_by_columns(MatrixView<const T> b, Index step, T* packed) {
    const Index full_depth = b.rows / S::lanes * S::lanes;
    for (Index column = 0; column < b.columns; column += S::lanes) {
      const T* from = b.data + column * b.column_stride;
      T* to = packed + column / Block::columns * step + column % Block::columns;
      for (Index k = 0; k < full_depth; k += S::lanes)
        transpose_block(from + k, b.column_stride, to + k * Block::columns);
      for (Index k = full_depth; k < b.rows; ++k) {
        for (Index lane = 0; lane < S::lanes; ++lane)
          to[k * Block::columns + lane] = from[k + lane * b.column_stride];
      }
    }
  }

  // The last, incomplete panel.
  static void b_rest(MatrixView<const T> b, T* packed) {
    for (Index k = 0; k < b.rows; ++k, packed += Block::columns) {
      for (Index column = 0; column < b.columns; ++column)
        packed[column] = b.data[k * b.row_stride + column * b.column_stride];
      std::fill(packed + b.columns, packed + Block::columns, T{0});
    }
  }

  [[gnu::always_inline]] static void transpose_block(const T* from, Index stride, T* to) {
    Vector block[S::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) S::load(block[i], from + i * stride);
    S::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) S::store(block[i], to + i * Block::columns);
  }
};

}  // namespace exfusion::kernels::detail
