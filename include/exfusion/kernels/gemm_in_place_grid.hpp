#pragma once

#include <algorithm>
#include <utility>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// The product on all threads as a grid of tiles of C, each computed by `Tile::run` on one thread, which
/// reads both operands where they are. The grid depends on the sizes alone, so the result does not depend on
/// the number of threads.
template <class Tile>
class InPlaceGrid {
 public:
  using T = typename Tile::T;
  using Source = typename Tile::Source;
  using Packed = T;

  /// Elements of memory that `multiply` needs: none.
  static Index room(Index /*rows*/, Index /*columns*/, Index /*threads*/) { return 0; }

  /// Into how many parts a long inner dimension is worth cutting: where C has few tiles. Half the tasks are
  /// enough, since the sums of parts must be added.
  static Index wanted_parts(Index rows, Index columns) {
    return ceil_divide(wanted_tiles, 2 * std::max<Index>(InPlaceGrid(rows, columns).tiles(), 1));
  }

  /// How deep a part is at least.
  static constexpr Index smallest_part = 512;

  /// C = A B (+ C) (+ bias), any sizes.
  static void multiply(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                       GemmEpilogue<T> epilogue, Packed* /*memory*/) {
    const InPlaceGrid grid(c.rows, c.columns);
    const T* bias = std::exchange(epilogue.bias, nullptr);
    // All tiles of C take part in one stretch of the inner dimension before the next one begins.
    for (Index k = 0; k == 0 || k < b.rows; k += stretch) {
      const Index depth = std::min(stretch, b.rows - k);
      if (k + stretch >= b.rows) epilogue.bias = bias;
      parallel_for(grid.tiles(), 1, [&](Index tile, Index) {
        grid.multiply_tile(a.block(0, k, a.rows, depth), b.block(k, 0, depth, b.columns), c, epilogue, tile);
      });
      epilogue.accumulate = true;
    }
  }

 private:
  static constexpr Index wanted_tiles = 16;  // enough that the slowest thread does not wait for the others
  static constexpr Index largest_rows = 192, smallest_rows = 96;
  static constexpr Index largest_columns = 512, smallest_columns = 128;
  static constexpr Index stretch = 512;  // of the inner dimension: its rows of A and B stay in the L3 cache

  InPlaceGrid(Index rows, Index columns) : rows_(rows), columns_(columns) {
    Index across = columns_ / smallest_columns, down = ceil_divide(rows_, largest_rows);
    across = std::clamp(ceil_divide(wanted_tiles, std::max<Index>(down, 1)),
                        ceil_divide(columns_, largest_columns), std::max<Index>(across, 1));
    down = std::max(down, std::min(ceil_divide(wanted_tiles, across), rows_ / smallest_rows));
    tile_rows_ = tile_size(rows_, down, step().rows);
    tile_columns_ = tile_size(columns_, across, step().columns);
  }

  struct Step {
    Index rows, columns;
  };
  // What the sides of tiles are multiples of: a register block, where there is one.
  static constexpr Step step() {
    if constexpr (requires { typename Tile::Block; }) {
      return {Tile::Block::rows, Tile::Block::columns};
    } else {
      return {12, 32};
    }
  }

  // What cuts `size` into about `tiles` equal parts of whole register blocks.
  static Index tile_size(Index size, Index tiles, Index step) {
    return std::max<Index>(ceil_divide(size, std::max<Index>(tiles, 1) * step), 1) * step;
  }

  Index tiles() const { return ceil_divide(rows_, tile_rows_) * ceil_divide(columns_, tile_columns_); }

  void multiply_tile(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                     GemmEpilogue<T> epilogue, Index tile) const {
    const Index tiles_across = ceil_divide(columns_, tile_columns_);
    const Index row = tile / tiles_across * tile_rows_, column = tile % tiles_across * tile_columns_;
    const Index rows_here = std::min(tile_rows_, rows_ - row);
    const Index columns_here = std::min(tile_columns_, columns_ - column);
    if (epilogue.bias != nullptr) epilogue.bias += column;
    Tile::run(a.block(row, 0, rows_here, a.columns), b.block(0, column, b.rows, columns_here),
              c.block(row, column, rows_here, columns_here), epilogue);
  }

  Index rows_;
  Index columns_;
  Index tile_rows_ = 0;
  Index tile_columns_ = 0;
};

}  // namespace exfusion::kernels::detail
