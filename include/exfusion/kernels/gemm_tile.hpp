#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include <exfusion/kernels/gemm_pack.hpp>

namespace exfusion::kernels::detail {

/// The product on one thread, in the manner of Goto and van de Geijn ("Anatomy of high-performance matrix
/// multiplication", ACM TOMS 2008): a block of A stays in the L2 cache, one panel of B after the other in the
/// L1 cache, and the micro-kernel multiplies the panel by the whole block.
template <class NumbersOf, int Bytes = simd_bytes>
struct BlockedTile {
  using Numbers = NumbersOf;
  using T = typename Numbers::Sum;
  using Source = typename Numbers::Source;
  using Packed = typename Numbers::Packed;
  using Block = GemmBlock<T, Bytes>;
  using Pack = GemmPack<Numbers, Bytes>;
  template <bool packed_a>
  using Rows = GemmRows<std::conditional_t<packed_a, Packed, Source>>;

  /// Rows of a block of A: 96 KiB.
  static constexpr int most_rows = 384 / static_cast<int>(sizeof(T)) / Block::rows * Block::rows;

  /// Whether rows of A may be read where they are: their numbers lie side by side and make whole elements.
  static bool reads_in_place(const MatrixView<const Source>& a) {
    return Numbers::reads_in_place && a.column_stride == 1 && a.columns % Numbers::group == 0;
  }

  /// C = scale * A B (+ C) (+ bias) with a packed B of `depth` elements, whose panels are `b_step` apart, and
  /// rows of A that are packed or in place.
  template <bool packed_a>
  static void run_packed(const Rows<packed_a>& a, const Packed* b, Index b_step, Index depth, MatrixView<T> c,
                         GemmEpilogue<T> epilogue) {
    const T* bias = std::exchange(epilogue.bias, nullptr);
    const Index last = std::max<Index>(depth - 1, 0) / Block::depth * Block::depth;
    for (Index k = 0; k <= last; k += Block::depth) {
      if (k == last) epilogue.bias = bias;
      Rows<packed_a> rows = a;
      rows.data += k * (packed_a ? Index{Block::rows} : Numbers::group);
      multiply_panels<packed_a>(rows, b + k * Block::columns, b_step,
                                std::min<Index>(Block::depth, depth - k), c, epilogue);
      epilogue.accumulate = true;
    }
  }

  /// C = scale * A B (+ C) (+ bias), any sizes and orders. Both operands are packed on the stack, part by
  /// part.
  static void run(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                  const GemmEpilogue<T>& epilogue) {
    for (Index row = 0; row < c.rows; row += most_rows) {
      const Index rows = std::min<Index>(most_rows, c.rows - row);
      row_block(a.block(row, 0, rows, a.columns), b, c.block(row, 0, rows, c.columns), epilogue);
    }
  }

 private:
  template <bool packed_a>
  static void multiply_panels(const Rows<packed_a>& a, const Packed* b, Index b_step, Index depth,
                              MatrixView<T> c, GemmEpilogue<T> epilogue) {
    using MicroKernel = GemmMicroKernel<Numbers, Bytes, packed_a>;
    const Index full_rows = packed_a ? c.rows : c.rows / Block::rows * Block::rows;
    alignas(64) std::array<Packed, packed_a ? 1 : Pack::a_step(Block::depth)> rest;
    if constexpr (!packed_a) {
      if (full_rows < c.rows) pack_rest(a, full_rows, c.rows, depth, rest.data());
    }
    for (Index column = 0; column < c.columns; column += Block::columns, b += b_step) {
      const Index columns = std::min<Index>(Block::columns, c.columns - column);
      const auto* panel = a.data;
      for (Index row = 0; row < full_rows; row += Block::rows, panel += a.panel_step) {
        const Index rows = std::min<Index>(Block::rows, c.rows - row);
        MicroKernel::run(depth, panel, a.row_step, b, c.block(row, column, rows, columns), epilogue);
      }
      if (full_rows < c.rows) {
        GemmMicroKernel<Numbers, Bytes, true>::run(
            depth, rest.data(), 0, b, c.block(full_rows, column, c.rows - full_rows, columns), epilogue);
      }
      if (epilogue.bias != nullptr) epilogue.bias += Block::columns;
    }
  }

  // The rows of A after the last full panel, packed: nothing may be read beyond A.
  static void pack_rest(const Rows<false>& a, Index begin, Index end, Index depth, Packed* packed) {
    const MatrixView<const Source> rows{a.data + begin * a.row_step, end - begin, depth * Numbers::group,
                                        a.row_step, 1};
    Pack::a(rows, 0, packed);
  }

  // Up to most_rows rows of C. The sum over the inner dimension goes block by block, always in this order.
  static void row_block(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                        GemmEpilogue<T> epilogue) {
    constexpr Index block_depth = Block::depth * Numbers::group, a_step = Pack::a_step(Block::depth);
    alignas(64) std::array<Packed, most_rows / Block::rows * a_step> packed;
    const T* bias = std::exchange(epilogue.bias, nullptr);
    const Index last = std::max<Index>(b.rows - 1, 0) / block_depth * block_depth;
    const bool in_place = reads_in_place(a);
    for (Index k = 0; k <= last; k += block_depth) {
      const Index depth = std::min<Index>(block_depth, b.rows - k);
      const auto columns_of_a = a.block(0, k, a.rows, depth), rows_of_b = b.block(k, 0, depth, b.columns);
      if (k == last) epilogue.bias = bias;
      if (in_place) {
        const Rows<false> rows{columns_of_a.data, a.row_stride, Block::rows * a.row_stride};
        pack_columns<false>(rows, rows_of_b, c, epilogue);
      } else {
        Pack::a(columns_of_a, a_step, packed.data());
        pack_columns<true>({packed.data(), 0, a_step}, rows_of_b, c, epilogue);
      }
      epilogue.accumulate = true;
    }
  }

  // A few panels of B are packed together, so that whole stretches of its rows are read at a time.
  template <bool packed_a>
  static void pack_columns(const Rows<packed_a>& a, MatrixView<const Source> b, MatrixView<T> c,
                           GemmEpilogue<T> epilogue) {
    constexpr Index group = 4 * Block::columns, step = Pack::b_step(Block::depth);
    alignas(64) std::array<Packed, group * Block::depth> packed;
    for (Index column = 0; column < c.columns; column += group) {
      const Index columns = std::min(group, c.columns - column);
      Pack::b(b.block(0, column, b.rows, columns), step, packed.data());
      multiply_panels<packed_a>(a, packed.data(), step, Pack::depth_of(b.rows),
                                c.block(0, column, c.rows, columns), epilogue);
      if (epilogue.bias != nullptr) epilogue.bias += columns;
    }
  }
};

}  // namespace exfusion::kernels::detail
