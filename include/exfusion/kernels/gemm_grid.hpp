#pragma once

#include <algorithm>
#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// The product on all threads: a grid of tiles of C, each computed by `Tile::run` on one thread. The grid
/// depends on the sizes alone, so the result does not depend on the number of threads.
template <Scalar T, class Tile>
struct GemmGrid {
  static void multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                       const GemmEpilogue<T>& epilogue) {
    const GemmGrid grid(c.rows, c.columns);
    const Index parts = grid.parts(b.rows);
    if (parts > 1 && epilogue.bias == nullptr) {
      grid.multiply_in_parts(a, b, c, epilogue, parts);
    } else {
      parallel_for(grid.tiles(), 1, [&](Index tile, Index) { grid.multiply_tile(a, b, c, epilogue, tile); });
    }
  }

 private:
  static constexpr Index wanted_tiles = 32;  // enough that the slowest thread does not wait for the others
  static constexpr Index largest_rows = 192, smallest_rows = 48;
  static constexpr Index largest_columns = 512, smallest_columns = 64;
  static constexpr Index smallest_depth = 512;  // of a part, where the inner dimension is cut too
  static constexpr Index most_parts = 8;
  static constexpr Index scratch_size = (256 << 10) / static_cast<Index>(sizeof(T));

  GemmGrid(Index rows_, Index columns_) : rows(rows_), columns(columns_) {
    while (tiles() < wanted_tiles && (tile_rows > smallest_rows || tile_columns > smallest_columns)) {
      const bool cut_columns = tile_columns >= tile_rows && tile_columns > smallest_columns;
      (cut_columns || tile_rows == smallest_rows ? tile_columns : tile_rows) /= 2;
    }
  }

  static Index count(Index size, Index tile) { return (size + tile - 1) / tile; }
  Index tiles() const { return count(rows, tile_rows) * count(columns, tile_columns); }

  // Into how many sums the inner dimension is cut: more than one if the tiles alone are too few and the sums
  // fit into scratch memory.
  Index parts(Index depth) const {
    const Index room = rows * columns == 0 ? 1 : 1 + scratch_size / (rows * columns);
    return std::min(
        {most_parts, room, depth / smallest_depth, count(wanted_tiles, std::max<Index>(tiles(), 1))});
  }

  void multiply_tile(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, GemmEpilogue<T> epilogue,
                     Index tile) const {
    const Index tiles_across = count(columns, tile_columns);
    const Index row = tile / tiles_across * tile_rows, column = tile % tiles_across * tile_columns;
    const Index rows_here = std::min(tile_rows, rows - row);
    const Index columns_here = std::min(tile_columns, columns - column);
    if (epilogue.bias != nullptr) epilogue.bias += column;
    Tile::run(a.block(row, 0, rows_here, a.columns), b.block(0, column, b.rows, columns_here),
              c.block(row, column, rows_here, columns_here), epilogue);
  }

  // C receives the first part; the others go to the stack and are added in order.
  void multiply_in_parts(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                         const GemmEpilogue<T>& epilogue, Index parts) const {
    alignas(64) std::array<T, static_cast<std::size_t>(scratch_size)> scratch;
    const Index depth = count(b.rows, parts), size = rows * columns;
    parallel_for(tiles() * parts, 1, [&](Index task, Index) {
      const Index part = task % parts, k = part * depth, depth_here = std::min(depth, b.rows - k);
      const auto target = part == 0 ? c : dense_matrix(scratch.data() + (part - 1) * size, rows, columns);
      multiply_tile(a.block(0, k, a.rows, depth_here), b.block(k, 0, depth_here, b.columns), target,
                    {.accumulate = part == 0 && epilogue.accumulate, .scale = epilogue.scale}, task / parts);
    });
    parallel_for(rows, 16, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        for (const T* from = scratch.data() + row * columns; from < scratch.data() + (parts - 1) * size;
             from += size) {
          T* to = c.data + row * c.row_stride;
          for (Index column = 0; column < columns; ++column) to[column] += from[column];
        }
      }
    });
  }

  Index rows;
  Index columns;
  Index tile_rows = largest_rows;
  Index tile_columns = largest_columns;
};

}  // namespace exfusion::kernels::detail
