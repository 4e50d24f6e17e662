#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <utility>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_ahead.hpp>
#include <exfusion/kernels/gemm_tile.hpp>
#include <exfusion/kernels/round.hpp>

namespace exfusion::kernels::detail {

/// The product on all threads by tile registers (AmxMicroKernel), which multiply so fast that packing an
/// operand more than once would cost too much: operands are packed once for all tiles of C, but for an A that
/// can be read in place. C is computed block by block: a round packs the next block's operands, which the
/// threads begin with, and multiplies this one's tiles, so that no time is spent waiting between packing and
/// multiplying. Blocks and tiles depend on sizes and strides alone, so the result does not depend on the
/// number of threads. C may be of numbers in bfloat16, rounded from complete sums in T: then the inner
/// dimension is at most `largest_depth`, and nothing is added to C.
template <class Tile, class Result = typename Tile::T>
class PackedGrid {
  static_assert(Tile::stays_in_row);

 public:
  using T = typename Tile::T;
  using Source = typename Tile::Source;
  using Packed = typename Tile::Packed;

  static constexpr Index packed_depth = Tile::largest_depth;
  /// Numbers along the inner dimension that are packed at a time.
  static constexpr Index largest_depth = packed_depth * Tile::Numbers::group;

  /// Elements of memory that `multiply` needs, with a C of these sizes; the threads share them.
  static Index room(Index rows, Index columns, Index /*threads*/) {
    return 2 * (room_of_a(rows) + room_of_b(columns));
  }

  /// Into how many parts a long inner dimension is worth cutting: no thread shall wait for what another one
  /// packs.
  static Index wanted_parts(Index /*rows*/, Index /*columns*/) { return 8; }
  /// How deep a part is at least.
  static constexpr Index smallest_part = 512;

  /// C = A B (+ C) (+ bias), any sizes.
  static void multiply(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Result> c,
                       const GemmEpilogue<T>& epilogue, Packed* memory) {
    PackedGrid(a, b, c, epilogue).run(memory);
  }

 private:
  using Block = typename Tile::Block;
  using Pack = typename Tile::Pack;

  static constexpr Index depth_unit = Tile::depth_unit * Tile::Numbers::group;
  static constexpr Index largest_block = 4096 / static_cast<Index>(sizeof(T));  // its rows and columns
  static constexpr Index pack_rows = 8 * Block::rows, pack_columns = 4 * Block::columns;
  static constexpr Index a_step = Pack::a_step(packed_depth), b_step = Pack::b_step(packed_depth);
  static constexpr Index wanted_tiles = 16;  // so that no thread waits long for the slowest

  /// A part of C and of the inner dimension whose operands are packed at a time.
  struct Part {
    Index row, column, k, rows, columns, depth;
  };

  PackedGrid(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Result> c,
             const GemmEpilogue<T>& epilogue)
      : a_(a), b_(b), c_(c), epilogue_(epilogue), in_place_(Tile::reads_rows_in_place(a, c.columns)) {
    block_rows_ = even_part(c.rows, in_place_ ? std::max<Index>(c.rows, 1) : largest_block, Block::rows);
    block_columns_ = even_part(c.columns, largest_block, Block::columns);
    across_ = ceil_divide(c.columns, block_columns_);
    part_depth_ = even_part(b.rows, largest_depth, depth_unit);
    deep_ = std::max<Index>(ceil_divide(b.rows, part_depth_), 1);
    tile_columns_ = even_part(block_columns_, most_columns(part_depth_), Block::columns);
    const Index down = ceil_divide(wanted_tiles, ceil_divide(block_columns_, tile_columns_));
    tile_rows_ = even_part(block_rows_, std::min<Index>(ceil_divide(block_rows_, down), Block::most_rows),
                           Block::rows);
  }

  // Columns of a tile of C whose B, of `depth` numbers a column, fits into the L2 cache beside the rest.
  static Index most_columns(Index depth) {
    constexpr Index size = (Index{768} << 10) / static_cast<Index>(sizeof(Packed));
    return std::max<Index>(size / std::max<Index>(Pack::depth_of(depth), 1), Block::columns);
  }

  // What packed panels of a block take.
  static Index room_of_a(Index rows) {
    return ceil_divide(even_part(rows, largest_block, Block::rows), Block::rows) * a_step;
  }
  static Index room_of_b(Index columns) {
    return ceil_divide(even_part(columns, largest_block, Block::columns), Block::columns) * b_step;
  }

  void run(Packed* memory) {
    if (c_.rows == 0 || c_.columns == 0) return;
    const Index parts = ceil_divide(c_.rows, block_rows_) * across_ * deep_;
    Packed* packed[2] = {memory, memory + b_size_ + (in_place_ ? 0 : room_of_a(c_.rows))};
    const Part first = part(0);
    parallel_for(pack_tasks(first), 1, [&](Index task, Index) { pack(first, packed[0], task); });
    for (Index i = 0; i < parts; ++i, std::swap(packed[0], packed[1])) {
      const Part here = part(i), next = part(std::min(i + 1, parts - 1));
      const Index packing = i + 1 < parts ? pack_tasks(next) : 0;
      parallel_for(packing + tiles(here), 1, [&](Index task, Index) {
        if (task < packing) {
          pack(next, packed[1], task);
        } else {
          multiply_tile(here, packed[0], task - packing);
        }
      });
    }
  }

  Part part(Index i) const {
    const Index k = i % deep_ * part_depth_, column = i / deep_ % across_ * block_columns_;
    const Index row = i / deep_ / across_ * block_rows_;
    return {row,
            column,
            k,
            std::min(block_rows_, c_.rows - row),
            std::min(block_columns_, c_.columns - column),
            std::min(part_depth_, b_.rows - k)};
  }

  Index pack_tasks(const Part& part) const {
    return ceil_divide(part.columns, pack_columns) + (in_place_ ? 0 : ceil_divide(part.rows, pack_rows));
  }

  void pack(const Part& part, Packed* packed, Index task) const {
    const Index tasks_of_b = ceil_divide(part.columns, pack_columns);
    if (task < tasks_of_b) {
      const Index column = task * pack_columns, columns = std::min(pack_columns, part.columns - column);
      Pack::b(b_.block(part.k, part.column + column, part.depth, columns), b_step,
              packed + column / Block::columns * b_step);
    } else {
      const Index row = (task - tasks_of_b) * pack_rows, rows = std::min(pack_rows, part.rows - row);
      Pack::a(a_.block(part.row + row, part.k, rows, part.depth), a_step,
              packed + b_size_ + row / Block::rows * a_step);
    }
  }

  Index tiles(const Part& part) const {
    return ceil_divide(part.rows, tile_rows_) * ceil_divide(part.columns, tile_columns_);
  }

  void multiply_tile(const Part& part, const Packed* packed, Index tile) const {
    // Tiles one below the other share what they need of B.
    const Index down = ceil_divide(part.rows, tile_rows_);
    const Index row = tile % down * tile_rows_, column = tile / down * tile_columns_;
    const Index rows = std::min(tile_rows_, part.rows - row);
    const Index columns = std::min(tile_columns_, part.columns - column);
    const auto c = c_.block(part.row + row, part.column + column, rows, columns);
    const Packed* b = packed + column / Block::columns * b_step;
    GemmEpilogue<T> epilogue = epilogue_;
    epilogue.accumulate |= part.k > 0;
    const bool is_last = part.k + part.depth >= b_.rows;
    epilogue.bias = is_last && epilogue.bias != nullptr ? epilogue.bias + part.column + column : nullptr;
    const Packed* a = packed + b_size_ + row / Block::rows * a_step;
    if constexpr (std::same_as<Result, T>) {
      multiply_rows(part, row, a, b, c, epilogue);
    } else {
      round_rows(part, row, a, b, c, epilogue);
    }
  }

  // The rows of C from `row` of the part on; those of A are packed at `a` or read in place.
  void multiply_rows(const Part& part, Index row, const Packed* a, const Packed* b, MatrixView<T> c,
                     const GemmEpilogue<T>& epilogue) const {
    NothingAhead nothing;
    if (in_place_) {
      Tile::run_in_place(a_.block(part.row + row, part.k, c.rows, part.depth), b, b_step, c, epilogue,
                         nothing);
    } else {
      Tile::run_packed(a, a_step, b, b_step, Pack::depth_of(part.depth), c, epilogue, nothing);
    }
  }

  // The same, a few rows at a time, whose sums stay in the cache.
  void round_rows(const Part& part, Index row, const Packed* a, const Packed* b, MatrixView<Result> c,
                  const GemmEpilogue<T>& epilogue) const {
    constexpr Index some = (64 + Block::rows - 1) / Block::rows * Block::rows;
    constexpr Index row_stride = largest_block + Block::columns + 16;  // not a power of two
    alignas(64) std::array<T, some * row_stride> sums;
    for (Index done = 0; done < c.rows; done += some, a += some / Block::rows * a_step) {
      const Index rows = std::min(some, c.rows - done);
      multiply_rows(part, row + done, a, b, {sums.data(), rows, c.columns, row_stride}, epilogue);
      for (Index r = 0; r < rows; ++r)
        Round<T>::to_bfloat16_serial(sums.data() + r * row_stride, c.data + (done + r) * c.row_stride,
                                     c.columns);
    }
  }

  MatrixView<const Source> a_;
  MatrixView<const Source> b_;
  MatrixView<Result> c_;
  GemmEpilogue<T> epilogue_;
  bool in_place_;
  Index block_rows_, block_columns_;
  Index across_, deep_, part_depth_;
  Index b_size_ = room_of_b(c_.columns);  ///< Of packed elements; those of A follow.
  Index tile_rows_, tile_columns_;
};

}  // namespace exfusion::kernels::detail
