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

  /// Elements from one packed panel of `Block::rows` rows of A to the next; a cache line more than a panel
  /// has, so that panels do not fall on the same cache sets.
  static constexpr int a_panel = Block::rows * Block::depth + 64 / static_cast<int>(sizeof(T));
  static constexpr int b_panel = Block::columns * Block::depth;

  /// Rows that are contiguous in A stay so: row r of panel p starts at p * a_panel + r * depth.
  static void a_by_rows(MatrixView<const T> a, T* packed) {
    for (Index row = 0; row < a.rows; ++row) {
      T* to = packed + row / Block::rows * a_panel + row % Block::rows * Block::depth;
      std::copy_n(a.data + row * a.row_stride, a.columns, to);
    }
    for (Index row = a.rows; row % Block::rows != 0; ++row) {
      std::fill_n(packed + row / Block::rows * a_panel + row % Block::rows * Block::depth, a.columns, T{0});
    }
  }

  /// Columns that are contiguous in A: column k of panel p starts at p * a_panel + k * rows.
  static void a_by_columns(MatrixView<const T> a, T* packed) {
    // Whole vectors are copied; what is too much is overwritten by the next column or falls between panels.
    constexpr int copied = std::bit_ceil(static_cast<unsigned>(Block::rows));
    for (Index k = 0; k < a.columns; ++k) {
      const T* from = a.data + k * a.column_stride;
      T* to = packed + k * Block::rows;
      Index row = 0;
      for (; row + copied <= a.rows; row += Block::rows, to += a_panel) {
        __builtin_prefetch(from + row + 8 * a.column_stride);
        copy_fixed<copied>(from + row, to);
      }
      for (; row < a.rows; row += Block::rows, to += a_panel)
        copy_padded(from + row, std::min<Index>(Block::rows, a.rows - row), Block::rows, to);
    }
  }

  /// Columns of B in panels of `Block::columns`, padded with zeros: row k of panel p starts at
  /// p * b_panel + k * columns.
  static void b(MatrixView<const T> b, T* packed) {
    const Index full_columns = b.columns / Block::columns * Block::columns;
    const auto full = b.block(0, 0, b.rows, full_columns);
    if (b.column_stride == 1) {
      b_by_rows(full, packed);
    } else {
      b_by_columns(full, packed);
    }
    if (full_columns < b.columns) {
      b_rest(b.block(0, full_columns, b.rows, b.columns - full_columns),
             packed + full_columns / Block::columns * b_panel);
    }
  }

 private:
  template <int count>
  [[gnu::always_inline]] static void copy_fixed(const T* from, T* to) {
    std::memcpy(to, from, count * sizeof(T));
  }

  static void copy_padded(const T* from, Index count, Index padded, T* to) {
    std::fill(std::copy_n(from, count, to), to + padded, T{0});
  }

  static void b_by_rows(MatrixView<const T> b, T* packed) {
    for (Index k = 0; k < b.rows; ++k, packed += Block::columns) {
      const T* from = b.data + k * b.row_stride;
      T* to = packed;
      for (Index column = 0; column < b.columns; column += Block::columns, to += b_panel) {
        __builtin_prefetch(from + column + 8 * b.row_stride);
        copy_fixed<Block::columns>(from + column, to);
      }
    }
  }

  static void b_by_columns(MatrixView<const T> b, T* packed) {
    const Index full_depth = b.rows / S::lanes * S::lanes;
    for (Index column = 0; column < b.columns; column += S::lanes) {
      const T* from = b.data + column * b.column_stride;
      T* to = packed + column / Block::columns * b_panel + column % Block::columns;
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
