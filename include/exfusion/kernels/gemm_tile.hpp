#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <utility>

#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_micro.hpp>
#include <exfusion/kernels/prefetch.hpp>

namespace exfusion::kernels::detail {

/// The product on one thread, in the manner of Goto and van de Geijn ("Anatomy of high-performance matrix
/// multiplication", ACM TOMS 2008): the block of one operand stays in the L2 cache, one panel of the other
/// after the next in the L1 cache, and the micro-kernel multiplies the panel by the whole block.
/// GemmMicroKernel wants the panels to be B's, AmxMicroKernel (`stays_in_row`) A's.
template <class MicroKernel>
struct BlockedTile {
  using Numbers = typename MicroKernel::Numbers;
  using T = typename Numbers::Sum;
  using Source = typename Numbers::Source;
  using Packed = typename Numbers::Packed;
  using Block = typename MicroKernel::Block;
  using Pack = typename MicroKernel::Pack;
  static constexpr bool stays_in_row = MicroKernel::stays_in_row;
  /// Packed elements that parts of the inner dimension have a multiple of: those of one of AMX's tiles.
  static constexpr Index depth_unit = 16;
  /// Packed elements along the inner dimension that are packed at a time at most, and summed up before they
  /// are stored if sums are stored rounded.
  static constexpr Index largest_depth = 2 * Block::depth;

  /// Whether there is a `run` that reads both operands in place.
  static constexpr bool has_columns_in_place = Numbers::group == 1 && requires(const Source* from) {
    Numbers::in_place(from);
  };

  /// Whether the micro-kernel shall read the rows of this A as they are, beside a packed B of so many
  /// columns: elements must follow each other as packed ones do, and rows not fall on the same cache sets, as
  /// those do that are whole pages apart.
  static bool reads_rows_in_place(MatrixView<const Source> a, Index columns) {
    constexpr Index page = 4096 / static_cast<Index>(sizeof(Source));
    if constexpr (has_rows_in_place) {
      return columns <= Numbers::most_columns_in_place && a.column_stride == 1 &&
             a.columns % Pack::whole == 0 && a.row_stride % page != 0;
    } else {
      return false;
    }
  }

  /// Whether `run` shall read both as they are. The columns of a B in place are read anew for every few rows
  /// of A: many rows are worth packing them, but not if A would have to be packed too, as a transposed one.
  static bool reads_both_in_place(MatrixView<const Source> a,
                                  MatrixView<const Source> b) requires has_columns_in_place {
    constexpr Index most_rows = 512;
    const bool is_transposed = a.row_stride == 1 && b.columns <= Numbers::most_columns_in_place;
    return b.column_stride == 1 && a.rows >= Block::rows && b.columns >= Block::columns &&
           (is_transposed || (a.rows <= most_rows && reads_rows_in_place(a, b.columns)));
  }

  /// C = A B (+ C) (+ bias) with packed operands of `depth` elements, whose panels are `a_step` and
  /// `b_step` apart. GemmMicroKernel's C may be of numbers in bfloat16; then `depth` is at most
  /// `largest_depth`, and nothing is accumulated. `ahead` asks for what is needed next (Ahead).
  template <class Result, class Next>
  static void run_packed(const Packed* a, Index a_step, const Packed* b, Index b_step, Index depth,
                         MatrixView<Result> c, const GemmEpilogue<T>& epilogue, Next& ahead) {
    for_each_depth<Result>(depth, epilogue, [&](Index k, Index depth_here, const GemmEpilogue<T>& part) {
      multiply_panels(PackedPanels{a + k * Block::rows, a_step}, c.rows, {}, b + k * Block::columns, b_step,
                      depth_here, c, part, ahead);
    });
  }

  /// The same with an A that is read in place.
  template <class Result, class Next>
  static void run_in_place(MatrixView<const Source> a, const Packed* b, Index b_step, MatrixView<Result> c,
                           const GemmEpilogue<T>& epilogue, Next& ahead) {
    if constexpr (has_rows_in_place) {
      const Index whole = c.rows / Block::rows * Block::rows;
      for_each_depth<Result>(
          Pack::depth_of(a.columns), epilogue, [&](Index k, Index depth, const GemmEpilogue<T>& part) {
            const auto here = a.block(0, k * Numbers::group, a.rows, depth * Numbers::group);
            alignas(64) std::array<Packed, Pack::a_step(largest_depth)> rest;
            Pack::a(here.block(whole, 0, c.rows - whole, here.columns), 0, rest.data());
            multiply_panels(RowsInPlace<Numbers, Block::rows>{here.data, here.row_stride}, whole,
                            PackedPanels{rest.data(), 0}, b + k * Block::columns, b_step, depth, c, part,
                            ahead);
          });
    }
  }

  /// C = A B (+ C) (+ bias) with operands that are read in place. They are parts of matrices that have a full
  /// block's rows and columns: an incomplete block is filled up with the rows and columns before it.
  static void run(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                  const GemmEpilogue<T>& epilogue) requires has_columns_in_place {
    for_each_depth<T>(b.rows, epilogue, [&](Index k, Index depth, const GemmEpilogue<T>& part) {
      const auto columns = b.block(k, 0, depth, b.columns);
      if (a.row_stride == 1) {
        using Rows = TransposedRowsInPlace<Numbers, Block::rows>;
        multiply_in_place(Rows{a.data + k * a.column_stride, a.column_stride}, columns, c, part);
      } else {
        using Rows = RowsInPlace<Numbers, Block::rows>;
        multiply_in_place(Rows{a.data + k, a.row_stride}, columns, c, part);
      }
    });
  }

 private:
  using PackedPanels = PackedRows<Packed, Block::rows>;
  static constexpr bool has_rows_in_place = requires(const Source* from) { Numbers::in_place(from); };

  // Calls body(k, depth, epilogue) for each part of the inner dimension that is summed up at a time: all of
  // it if sums are stored rounded.
  template <class Result, class Body>
  static void for_each_depth(Index depth, GemmEpilogue<T> epilogue, const Body& body) {
    const T* bias = std::exchange(epilogue.bias, nullptr);
    const Index most = std::same_as<Result, T> ? Block::depth : largest_depth;
    const Index parts = std::max<Index>(ceil_divide(depth, most), 1);
    const Index part = ceil_divide(depth, depth_unit * parts) * depth_unit;
    for (Index k = 0, i = 1; i <= parts; k += part, ++i) {
      if (i == parts) epilogue.bias = bias;
      body(k, std::min<Index>(part, depth - k), epilogue);
      epilogue.accumulate = true;
    }
  }

  // Asks for the share of the next block's columns that falls to this row of blocks, of so many rows in all.
  [[gnu::always_inline]] static void prefetch_columns(MatrixView<const Source> b, Index row, Index rows) {
    const Index share = ceil_divide(b.rows, ceil_divide(rows, Block::rows)),
                begin = row / Block::rows * share;
    for (Index k = begin; k < std::min(b.rows, begin + share); ++k)
      prefetch<CacheLevel::second>(b.data + k * b.row_stride, Block::columns);
  }

  static GemmEpilogue<T> from_column(GemmEpilogue<T> epilogue, Index column) {
    if (epilogue.bias != nullptr) epilogue.bias += column;
    return epilogue;
  }

  template <class Rows>
  [[gnu::noinline]] static void multiply_in_place(const Rows& a, MatrixView<const Source> b, MatrixView<T> c,
                                                  const GemmEpilogue<T>& epilogue) {
    for (Index column = 0; column < c.columns; column += Block::columns) {
      const Index columns = std::min<Index>(Block::columns, c.columns - column);
      const ColumnsInPlace<Numbers> columns_of_b{b.data + column + columns - Block::columns, b.row_stride};
      const Index next = column + columns;
      for (Index row = 0; row < c.rows; row += Block::rows) {
        const Index rows = std::min<Index>(Block::rows, c.rows - row);
        if (next < c.columns) prefetch_columns(b.block(0, next, b.rows, Block::columns), row, c.rows);
        MicroKernel::run(b.rows, a.from_row(row + rows - Block::rows), columns_of_b,
                         c.block(row, column, rows, columns), from_column(epilogue, column),
                         Block::rows - rows, Block::columns - columns);
      }
    }
  }

  // `a` has the rows up to `whole`, `rest` those from there on.
  template <class Rows, class Result, class Next>
  [[gnu::noinline]] static void multiply_panels(const Rows& a, Index whole, const PackedPanels& rest,
                                                const Packed* b, Index b_step, Index depth,
                                                MatrixView<Result> c, const GemmEpilogue<T>& epilogue,
                                                Next& ahead) {
    [[maybe_unused]] const typename MicroKernel::Registers registers;
    const auto multiply = [&](Index row, Index column, const auto& rows_of_a) {
      const Index rows = std::min<Index>(Block::rows, c.rows - row);
      const Index columns = std::min<Index>(Block::columns, c.columns - column);
      ahead.ask();
      const PackedColumns<Packed, Block::columns> columns_of_b{b + column / Block::columns * b_step};
      MicroKernel::run(depth, rows_of_a, columns_of_b, c.block(row, column, rows, columns),
                       from_column(epilogue, column));
    };
    if constexpr (MicroKernel::stays_in_row) {
      Rows panel = a;
      for (Index row = 0; row < whole; row += Block::rows, panel = panel.next_panel()) {
        if (row + 2 * Block::rows <= c.rows) panel.next_panel().prefetch(depth);
        for (Index column = 0; column < c.columns; column += Block::columns) multiply(row, column, panel);
      }
      for (Index column = 0; whole < c.rows && column < c.columns; column += Block::columns)
        multiply(whole, column, rest);
    } else {
      for (Index column = 0; column < c.columns; column += Block::columns) {
        Rows panel = a;
        for (Index row = 0; row < whole; row += Block::rows, panel = panel.next_panel()) {
          multiply(row, column, panel);
        }
        if (whole < c.rows) multiply(whole, column, rest);
      }
    }
  }
};

}  // namespace exfusion::kernels::detail
