#pragma once

#include <algorithm>
#include <concepts>

#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_ahead.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/gemm_tile.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// The product on all threads, which share C's tiles. Each thread packs what it needs of B, and of an A that
/// cannot be read in place, for itself: for a block of C and a stretch of the inner dimension at a time,
/// which stay in the L2 cache while they are multiplied. Meanwhile it asks for what it packs next, so that
/// threads wait little for memory, and not for each other. Sums are formed in an order that depends on sizes
/// and strides alone, and so does the result; tiles depend on the number of threads too. C may be of numbers
/// in bfloat16, rounded from complete sums in T: then the inner dimension is at most `largest_depth`, and
/// nothing is added to C.
template <class Tile, class Result = typename Tile::T>
class StretchGrid {
 public:
  using T = typename Tile::T;
  using Source = typename Tile::Source;
  using Packed = typename Tile::Packed;

  /// Numbers along the inner dimension that are summed up before the sum is rounded.
  static constexpr Index largest_depth = Tile::largest_depth * Tile::Numbers::group;

  /// Elements of memory that `multiply` needs on so many threads.
  static constexpr Index room(Index rows, Index columns, Index threads) {
    return rows == 0 || columns == 0 ? 0 : std::max<Index>(threads, 2) * thread_room;
  }

  /// Into how many parts a long inner dimension is worth cutting: into several if C is so small that each of
  /// its tiles would need as much as all of it.
  static Index wanted_parts(Index rows, Index columns) { return rows + columns <= 768 ? 4 : 1; }
  /// How deep a part is at least.
  static constexpr Index smallest_part = 2048;

  /// C = A B (+ C) (+ bias), any sizes.
  static void multiply(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Result> c,
                       const GemmEpilogue<T>& epilogue, Packed* memory) {
    if (c.rows > 0 && c.columns > 0) StretchGrid(a, b, c, epilogue).run(memory);
  }

 private:
  using Block = typename Tile::Block;
  using Pack = typename Tile::Pack;

  static constexpr Index depth_unit = Tile::depth_unit * Tile::Numbers::group;
  static constexpr Index longest_packed = 128;  // elements of a stretch for which A is packed
  // Elements that are packed at a time; half as many beside an A in place, which needs room itself.
  static constexpr Index most_packed = (Index{640} << 10) / static_cast<Index>(sizeof(Packed));
  // Elements for each thread: a huge page, which Buffer gives to two threads and more. They fit in with what
  // panels are padded with, which is at most a sixth, and a panel of each operand.
  static constexpr Index thread_room = (Index{2} << 20) / static_cast<Index>(sizeof(Packed));
  static_assert(thread_room >=
                most_packed / 6 * 7 + Pack::a_step(Tile::largest_depth) + Pack::b_step(Tile::largest_depth));
  static constexpr Index smallest_side = 48;  // of a tile

  /// A part of C and of the inner dimension.
  struct Part {
    Index row, column, k, rows, columns, depth;
  };

  StretchGrid(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Result> c,
              const GemmEpilogue<T>& epilogue)
      : a_(a), b_(b), c_(c), epilogue_(epilogue), in_place_(Tile::reads_rows_in_place(a, c.columns)) {
    const Index longest = (in_place_ ? Block::depth : longest_packed) * Tile::Numbers::group;
    stretch_ = even_part(b.rows, std::same_as<Result, T> ? longest : largest_depth, depth_unit);
    a_step_ = Pack::a_step(Pack::depth_of(stretch_));
    b_step_ = Pack::b_step(Pack::depth_of(stretch_));
    cut_tiles();
    // The shorter side of a tile as a whole, unless that leaves little room for the other one.
    const Index most_sides = most_packed / Pack::depth_of(stretch_), half = most_sides / 2;
    block_columns_ = tile_columns_;
    block_rows_ = tile_rows_;
    if (in_place_) {
      block_columns_ = even_part(tile_columns_, half, Block::columns);
    } else if (tile_rows_ + tile_columns_ > most_sides) {
      block_columns_ = even_part(tile_columns_, std::max(half, most_sides - tile_rows_), Block::columns);
      block_rows_ = even_part(tile_rows_, std::max(half, most_sides - tile_columns_), Block::rows);
    }
  }

  // As many tiles as there are threads, or so many that none waits for another one long.
  void cut_tiles() {
    const Index threads = omp_get_max_threads();
    tile_rows_ = even_part(c_.rows, c_.rows, Block::rows);
    tile_columns_ = even_part(c_.columns, c_.columns, Block::columns);
    for (Index down = 1, across = 1; std::max(tile_rows_, tile_columns_) >= 2 * smallest_side;) {
      const Index tiles = ceil_divide(c_.rows, tile_rows_) * ceil_divide(c_.columns, tile_columns_);
      const bool is_small = std::max(tile_rows_, tile_columns_) < 4 * smallest_side;
      if (tiles % threads == 0 || tiles >= (is_small ? 1 : 4) * threads) break;
      if (tile_rows_ >= tile_columns_) {
        tile_rows_ = even_part(c_.rows, ceil_divide(c_.rows, ++down), Block::rows);
      } else {
        tile_columns_ = even_part(c_.columns, ceil_divide(c_.columns, ++across), Block::columns);
      }
    }
  }

  void run(Packed* memory) const {
    const Index down = ceil_divide(c_.rows, tile_rows_), across = ceil_divide(c_.columns, tile_columns_);
    parallel_for(down * across, 1, [&](Index tile, Index) {
      const Index row = tile % down * tile_rows_, column = tile / down * tile_columns_;
      multiply_tile({row, column, 0, std::min(tile_rows_, c_.rows - row),
                     std::min(tile_columns_, c_.columns - column), b_.rows},
                    memory + omp_get_thread_num() * thread_room);
    });
  }

  void multiply_tile(const Part& tile, Packed* memory) const {
    const Index deep = std::max<Index>(ceil_divide(tile.depth, stretch_), 1);
    const Index across = ceil_divide(tile.columns, block_columns_),
                down = ceil_divide(tile.rows, block_rows_);
    const auto part = [&](Index i) {
      const Index k = i % deep * stretch_, column = i / deep % across * block_columns_;
      const Index row = i / deep / across * block_rows_;
      if (row >= tile.rows) return Part{};
      return Part{tile.row + row,
                  tile.column + column,
                  k,
                  std::min(block_rows_, tile.rows - row),
                  std::min(block_columns_, tile.columns - column),
                  std::min(stretch_, tile.depth - k)};
    };
    for (Index i = 0; i < down * across * deep; ++i) multiply_part(part(i), part(i + 1), memory);
  }

  void multiply_part(const Part& here, const Part& next, Packed* b) const {
    GemmEpilogue<T> epilogue = epilogue_;
    epilogue.accumulate |= here.k > 0;
    const bool is_last = here.k + here.depth >= b_.rows;
    epilogue.bias = is_last && epilogue.bias != nullptr ? epilogue.bias + here.column : nullptr;
    Pack::b(of_b(here), b_step_, b);
    const auto c = c_.block(here.row, here.column, here.rows, here.columns);
    if (in_place_) return multiply_in_place(of_a(here), b, of_b(next), c, epilogue);
    Packed* a = b + ceil_divide(here.columns, Block::columns) * b_step_;
    Pack::a(of_a(here), a_step_, a);
    Ahead<Source> ahead(of_a(next), of_b(next), blocks(here.rows, here.columns));
    Tile::run_packed(a, a_step_, b, b_step_, Pack::depth_of(here.depth), c, epilogue, ahead);
  }

  // A few rows at a time, which stay in the cache from one panel of B to the next.
  void multiply_in_place(MatrixView<const Source> a, const Packed* b, MatrixView<const Source> next_b,
                         MatrixView<Result> c, const GemmEpilogue<T>& epilogue) const {
    constexpr Index some = 4 * Block::rows;
    const Index strips = ceil_divide(c.rows, some);
    for (Index strip = 0; strip < strips; ++strip) {
      const Index row = strip * some, rows = std::min(some, c.rows - row);
      const Index after = row + rows, next_rows = std::min(some, c.rows - after);
      Ahead<Source> ahead(a.block(after, 0, next_rows, a.columns), share(next_b, strip, strips),
                          blocks(rows, c.columns));
      Tile::run_in_place(a.block(row, 0, rows, a.columns), b, b_step_, c.block(row, 0, rows, c.columns),
                         epilogue, ahead);
    }
  }

  MatrixView<const Source> of_a(const Part& part) const {
    return a_.block(part.row, part.k, part.rows, part.depth);
  }
  MatrixView<const Source> of_b(const Part& part) const {
    return b_.block(part.k, part.column, part.depth, part.columns);
  }

  static Index blocks(Index rows, Index columns) {
    return ceil_divide(rows, Block::rows) * ceil_divide(columns, Block::columns);
  }

  // One of `shares` parts of a matrix, each of whole rows, or columns if these are what lies side by side.
  static MatrixView<const Source> share(MatrixView<const Source> matrix, Index i, Index shares) {
    const bool by_rows = matrix.column_stride == 1;
    const Index all = by_rows ? matrix.rows : matrix.columns;
    const Index begin = all * i / shares, count = all * (i + 1) / shares - begin;
    return by_rows ? matrix.block(begin, 0, count, matrix.columns)
                   : matrix.block(0, begin, matrix.rows, count);
  }

  MatrixView<const Source> a_;
  MatrixView<const Source> b_;
  MatrixView<Result> c_;
  GemmEpilogue<T> epilogue_;
  bool in_place_;
  Index stretch_;          ///< Numbers along the inner dimension.
  Index a_step_, b_step_;  ///< Between packed panels.
  Index tile_rows_, tile_columns_;
  Index block_rows_, block_columns_;  ///< Of a tile, packed at a time.
};

}  // namespace exfusion::kernels::detail
