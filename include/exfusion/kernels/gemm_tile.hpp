#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include <exfusion/kernels/gemm_pack.hpp>

namespace exfusion::kernels::detail {

/// The product on one thread, in the manner of Goto and van de Geijn ("Anatomy of high-performance matrix
/// multiplication", ACM TOMS 2008): a block of A is packed for the L2 cache, then one panel of B after the
/// other for the L1 cache, and the micro-kernel multiplies the panel by the whole block. All packed operands
/// are on the stack.
template <Scalar T, int Bytes = simd_bytes>
struct BlockedTile {
  using Block = GemmBlock<T, Bytes>;
  using Pack = GemmPack<T, Bytes>;

  /// Rows of a packed block of A: 192 KiB.
  static constexpr int panels = 768 / static_cast<int>(sizeof(T)) / Block::rows;
  static constexpr int most_rows = panels * Block::rows;
  /// Panels of B that are packed together, so that whole stretches of its rows are read at a time.
  static constexpr int b_panels = 4;

  /// C = scale * A B (+ C) (+ bias), any sizes. Depends on nothing but its operands.
  static void run(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                  const GemmEpilogue<T>& epilogue) {
    for (Index row = 0; row < c.rows; row += most_rows) {
      const Index rows = std::min<Index>(most_rows, c.rows - row);
      row_block(a.block(row, 0, rows, a.columns), b, c.block(row, 0, rows, c.columns), epilogue);
    }
  }

 private:
  // Up to most_rows rows of C. The sum over the inner dimension goes block by block, always in this order.
  static void row_block(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                        GemmEpilogue<T> epilogue) {
    alignas(64) std::array<T, panels * Pack::a_panel> packed_a;
    const T* bias = std::exchange(epilogue.bias, nullptr);
    const Index last = std::max<Index>(b.rows - 1, 0) / Block::depth * Block::depth;
    for (Index k = 0; k <= last; k += Block::depth) {
      const Index depth = std::min<Index>(Block::depth, b.rows - k);
      const auto columns_of_a = a.block(0, k, a.rows, depth), rows_of_b = b.block(k, 0, depth, b.columns);
      if (k == last) epilogue.bias = bias;
      if (a.column_stride == 1) {
        Pack::a_by_rows(columns_of_a, packed_a.data());
        columns<Block::depth, 1>(packed_a.data(), rows_of_b, c, epilogue);
      } else {
        Pack::a_by_columns(columns_of_a, packed_a.data());
        columns<1, Block::rows>(packed_a.data(), rows_of_b, c, epilogue);
      }
      epilogue.accumulate = true;
    }
  }

  template <int row_step, int depth_step>
  static void columns(const T* packed_a, MatrixView<const T> b, MatrixView<T> c, GemmEpilogue<T> epilogue) {
    using MicroKernel = GemmMicroKernel<T, Bytes, row_step, depth_step>;
    alignas(64) std::array<T, b_panels * Pack::b_panel> packed_b;
    constexpr Index group = b_panels * Block::columns;
    for (Index column = 0; column < c.columns; column += Block::columns) {
      if (column % group == 0) {
        Pack::b(b.block(0, column, b.rows, std::min(group, c.columns - column)), packed_b.data());
      }
      const T* panel_of_b = packed_b.data() + column % group / Block::columns * Pack::b_panel;
      const Index columns = std::min<Index>(Block::columns, c.columns - column);
      const T* panel_of_a = packed_a;
      for (Index row = 0; row < c.rows; row += Block::rows, panel_of_a += Pack::a_panel) {
        const Index rows = std::min<Index>(Block::rows, c.rows - row);
        MicroKernel::run(b.rows, panel_of_a, panel_of_b, c.block(row, column, rows, columns), epilogue);
      }
      if (epilogue.bias != nullptr) epilogue.bias += Block::columns;
    }
  }
};

}  // namespace exfusion::kernels::detail
