#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include <exfusion/kernels/gemm_micro.hpp>

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

  /// Whether the micro-kernel shall read the rows of this A as they are, for a C of so many columns: elements
  /// must follow each other as packed ones do, and rows not fall on the same cache sets, as those do that are
  /// whole pages apart.
  static bool is_read_in_place(MatrixView<const Source> a, Index columns) {
    constexpr Index page = 4096 / static_cast<Index>(sizeof(Source));
    if constexpr (has_rows_in_place) {
      return columns <= Numbers::most_columns_in_place && a.column_stride == 1 &&
             a.columns % Pack::whole == 0 && a.row_stride % page != 0;
    } else {
      return false;
    }
  }

  /// Columns of a tile of C whose B, of `depth` numbers a column, fits into the L2 cache beside the rest.
  static constexpr Index most_columns(Index depth) {
    constexpr Index size = (Index{768} << 10) / static_cast<Index>(sizeof(Packed));
    return std::max<Index>(size / std::max<Index>(Pack::depth_of(depth), 1), Block::columns);
  }

  /// C = A B (+ C) (+ bias) with packed operands of `depth` elements, whose panels are `a_step` and
  /// `b_step` apart.
  static void run_packed(const Packed* a, Index a_step, const Packed* b, Index b_step, Index depth,
                         MatrixView<T> c, const GemmEpilogue<T>& epilogue) {
    for_each_depth(depth, epilogue, [&](Index k, Index depth_here, const GemmEpilogue<T>& part) {
      multiply_panels(PackedPanels{a + k * Block::rows, a_step}, b + k * Block::columns, b_step, depth_here,
                      c, part);
    });
  }

  /// The same with an A that is read in place.
  static void run_in_place(MatrixView<const Source> a, const Packed* b, Index b_step, MatrixView<T> c,
                           const GemmEpilogue<T>& epilogue) {
    if constexpr (has_rows_in_place) {
      const Index whole = c.rows / Block::rows * Block::rows, rest = c.rows - whole;
      for_each_depth(Pack::depth_of(a.columns), epilogue,
                     [&](Index k, Index depth, const GemmEpilogue<T>& part) {
                       const auto here = a.block(0, k * Numbers::group, a.rows, depth * Numbers::group);
                       const Packed* panels = b + k * Block::columns;
                       multiply_panels(RowsInPlace<Numbers, Block::rows>{here.data, here.row_stride}, panels,
                                       b_step, depth, c.block(0, 0, whole, c.columns), part);
                       if (rest == 0) return;
                       alignas(64) std::array<Packed, Pack::a_step(Block::depth)> packed;
                       Pack::a(here.block(whole, 0, rest, here.columns), 0, packed.data());
                       multiply_panels(PackedPanels{packed.data(), 0}, panels, b_step, depth,
                                       c.block(whole, 0, rest, c.columns), part);
                     });
    }
  }

 private:
  using PackedPanels = PackedRows<Packed, Block::rows>;
  static constexpr bool has_rows_in_place = requires(const Source* from) { Numbers::in_place(from); };

  // Calls body(k, depth, epilogue) for each part of the inner dimension that is summed up at a time.
  template <class Body>
  static void for_each_depth(Index depth, GemmEpilogue<T> epilogue, const Body& body) {
    const T* bias = std::exchange(epilogue.bias, nullptr);
    const Index parts = std::max<Index>((depth + Block::depth - 1) / Block::depth, 1);
    const Index part = (depth + depth_unit * parts - 1) / (depth_unit * parts) * depth_unit;
    for (Index k = 0, i = 1; i <= parts; k += part, ++i) {
      if (i == parts) epilogue.bias = bias;
      body(k, std::min<Index>(part, depth - k), epilogue);
      epilogue.accumulate = true;
    }
  }

  template <class Rows>
  static void multiply_panels(const Rows& a, const Packed* b, Index b_step, Index depth, MatrixView<T> c,
                              const GemmEpilogue<T>& epilogue) {
    [[maybe_unused]] const typename MicroKernel::Registers registers;
    const auto multiply = [&](Index row, Index column, const Rows& rows_of_a) {
      const Index rows = std::min<Index>(Block::rows, c.rows - row);
      const Index columns = std::min<Index>(Block::columns, c.columns - column);
      GemmEpilogue<T> part = epilogue;
      if (part.bias != nullptr) part.bias += column;
      MicroKernel::run(depth, rows_of_a, b + column / Block::columns * b_step,
                       c.block(row, column, rows, columns), part);
    };
    if constexpr (MicroKernel::stays_in_row) {
      Rows panel = a;
      for (Index row = 0; row < c.rows; row += Block::rows, panel = panel.next_panel()) {
        if (row + 2 * Block::rows <= c.rows) panel.next_panel().prefetch(depth);
        for (Index column = 0; column < c.columns; column += Block::columns) multiply(row, column, panel);
      }
    } else {
      for (Index column = 0; column < c.columns; column += Block::columns) {
        Rows panel = a;
        for (Index row = 0; row < c.rows; row += Block::rows, panel = panel.next_panel()) {
          if (column == 0 && row + 2 * Block::rows <= c.rows) panel.next_panel().prefetch(depth);
          multiply(row, column, panel);
        }
      }
    }
  }
};

}  // namespace exfusion::kernels::detail
