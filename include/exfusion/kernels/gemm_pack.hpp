#pragma once

#include <algorithm>
#include <bit>
#include <cstring>

#include <exfusion/kernels/gemm_block.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// Copies parts of A and B into the order in which the micro-kernel reads them.
template <class Numbers, int Bytes>
struct GemmPack {
  using Source = typename Numbers::Source;
  using Packed = typename Numbers::Packed;
  using Block = GemmBlock<typename Numbers::Sum, Bytes>;
  using S = Simd<Packed, Bytes>;
  using Vector = typename S::Vector;

  /// Numbers along the inner dimension that A must have a multiple of to be read where it is.
  static constexpr Index whole = Numbers::group;

  /// Packed elements that `size` numbers along the inner dimension make.
  static constexpr Index depth_of(Index size) { return (size + Numbers::group - 1) / Numbers::group; }

  /// Elements from one packed panel of `Block::rows` rows of A to the next, for `depth` packed elements: a
  /// cache line more than a panel has, so that panels do not fall on the same cache sets and whole vectors
  /// may be copied.
  static constexpr Index a_step(Index depth) { return (Block::rows * depth + 2 * line - 1) / line * line; }
  /// The same for panels of `Block::columns` columns of B.
  static constexpr Index b_step(Index depth) { return Block::columns * depth; }

  /// Rows of A in panels of `Block::rows`, padded with zeros: column k of panel p starts at
  /// p * a_step + k * rows.
  [[gnu::noinline]] static void a(MatrixView<const Source> a, Index step, Packed* packed) {
    if (a.column_stride == 1) {
      a_by_rows(a, step, packed);
    } else {
      a_by_columns(a, step, packed);
    }
  }

  /// Columns of B in panels of `Block::columns`, padded with zeros: row k of panel p starts at
  /// p * b_step + k * columns.
  [[gnu::noinline]] static void b(MatrixView<const Source> b, Index step, Packed* packed) {
    if (b.rows == 0) return;
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
  static constexpr Index line = 64 / static_cast<Index>(sizeof(Packed));

  // Asks for the numbers of a packed element a few further along the inner dimension.
  [[gnu::always_inline]] static void prefetch_rows(const Source* from, Index stride) {
    constexpr Index elements_ahead = 4;
    for (Index i = 0; i < Numbers::group; ++i)
      __builtin_prefetch(from + (elements_ahead * Numbers::group + i) * stride);
  }

  // Whether the packed element k has all its numbers, of `size` along the inner dimension.
  static bool complete(Index k, Index size) { return (k + 1) * Numbers::group <= size; }

  static void a_by_rows(MatrixView<const Source> a, Index step, Packed* packed) {
    const Index depth = depth_of(a.columns), full_depth = a.columns / Numbers::group / S::lanes * S::lanes;
    for (Index row = 0; row < a.rows; row += Block::rows, packed += step) {
      const Index rows = std::min<Index>(Block::rows, a.rows - row);
      const Source* from = a.data + row * a.row_stride;
      Index k = 0;
      for (; rows == Block::rows && k < full_depth; k += S::lanes)
        transpose_panel<last_lanes>(from + k * Numbers::group, a.row_stride, packed + k * Block::rows);
      for (; k < depth; ++k) {
        Packed* to = packed + k * Block::rows;
        for (Index r = 0; r < rows; ++r)
          to[r] = Numbers::element(from + r * a.row_stride + k * Numbers::group, 1, complete(k, a.columns));
        std::fill(to + rows, to + Block::rows, Packed{0});
      }
    }
  }

  static constexpr int last_lanes = (Block::rows - 1) / S::lanes * S::lanes;

  // `lanes` columns of a panel of A, its rows from `first` on and then those before. Whole vectors are
  // stored; what is too much is overwritten by the rows before or by the next columns, or falls between
  // panels.
  template <int first>
  [[gnu::always_inline]] static void transpose_panel(const Source* from, Index stride, Packed* to) {
    constexpr int rows = std::min<int>(S::lanes, Block::rows - first);
    Vector block[S::lanes] = {};
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row) Numbers::load(block[row], from + (first + row) * stride);
    S::transpose(block);
#pragma GCC unroll 16
    for (int k = 0; k < S::lanes; ++k) S::store(block[k], to + k * Block::rows + first);
    if constexpr (first > 0) transpose_panel<first - S::lanes>(from, stride, to);
  }

  static void a_by_columns(MatrixView<const Source> a, Index step, Packed* packed) {
    // Whole vectors are copied; what is too much is overwritten by the next column or falls between panels.
    constexpr int copied = std::bit_ceil(static_cast<unsigned>(Block::rows));
    for (Index k = 0; k < depth_of(a.columns); ++k) {
      const Source* from = a.data + k * Numbers::group * a.column_stride;
      Packed* to = packed + k * Block::rows;
      Index row = 0;
      for (; complete(k, a.columns) && row + copied <= a.rows; row += Block::rows, to += step) {
        prefetch_rows(from + row, a.column_stride);
        Numbers::template copy<copied>(from + row, a.column_stride, to);
      }
      for (; row < a.rows; row += Block::rows, to += step) {
        const Index rows = std::min<Index>(Block::rows, a.rows - row);
        for (Index r = 0; r < rows; ++r)
          to[r] = Numbers::element(from + row + r, a.column_stride, complete(k, a.columns));
        std::fill(to + rows, to + Block::rows, Packed{0});
      }
    }
  }

  static void b_by_rows(MatrixView<const Source> b, Index step, Packed* packed) {
    for (Index k = 0; k < depth_of(b.rows); ++k, packed += Block::columns) {
      const Source* from = b.data + k * Numbers::group * b.row_stride;
      Packed* to = packed;
      for (Index column = 0; column < b.columns; column += Block::columns, to += step) {
        if (complete(k, b.rows)) {
          prefetch_rows(from + column, b.row_stride);
          Numbers::template copy<Block::columns>(from + column, b.row_stride, to);
        } else {
          for (Index c = 0; c < Block::columns; ++c)
            to[c] = Numbers::element(from + column + c, b.row_stride, false);
        }
      }
    }
  }

  static void b_by_columns(MatrixView<const Source> b, Index step, Packed* packed) {
    const Index full_depth = b.rows / Numbers::group / S::lanes * S::lanes;
    for (Index column = 0; column < b.columns; column += S::lanes) {
      const Source* from = b.data + column * b.column_stride;
      Packed* to = packed + column / Block::columns * step + column % Block::columns;
      for (Index k = 0; k < full_depth; k += S::lanes)
        transpose_block(from + k * Numbers::group, b.column_stride, to + k * Block::columns);
      for (Index k = full_depth; k < depth_of(b.rows); ++k) {
        for (Index lane = 0; lane < S::lanes; ++lane)
          to[k * Block::columns + lane] =
              Numbers::element(from + k * Numbers::group + lane * b.column_stride, 1, complete(k, b.rows));
      }
    }
  }

  // The last, incomplete panel.
  static void b_rest(MatrixView<const Source> b, Packed* packed) {
    for (Index k = 0; k < depth_of(b.rows); ++k, packed += Block::columns) {
      const Source* from = b.data + k * Numbers::group * b.row_stride;
      for (Index column = 0; column < b.columns; ++column)
        packed[column] = Numbers::element(from + column * b.column_stride, b.row_stride, complete(k, b.rows));
      std::fill(packed + b.columns, packed + Block::columns, Packed{0});
    }
  }

  // Numbers along the inner dimension lie side by side: each row read is a row of packed elements.
  [[gnu::always_inline]] static void transpose_block(const Source* from, Index stride, Packed* to) {
    Vector block[S::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) Numbers::load(block[i], from + i * stride);
    S::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) S::store(block[i], to + i * Block::columns);
  }
};

}  // namespace exfusion::kernels::detail
