#pragma once

#include <algorithm>
#include <csignal>

#include <dnnl.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/gemm_parts.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/one_thread.hpp>

namespace exfusion::kernels::detail {

/// Products by oneDNN's sgemm, each call on one thread.
struct OneDnnGemm {
  using T = float;
  using Source = float;

  /// C = A B (+ C) (+ bias), any sizes, on all threads: in a few large tiles of C, as the library
  /// packs both operands anew for each, and of a few parts of a long inner dimension, which are then added.
  /// All depend on sizes and strides alone, and so does the result.
  static void multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                       const GemmEpilogue<float>& epilogue) {
    const Task size = task_size(c.rows, c.columns, b.rows);
    const Index across = ceil_divide(c.columns, size.columns);
    const Index tiles = ceil_divide(c.rows, size.rows) * across;
    const Index parts = std::max<Index>(ceil_divide(b.rows, size.depth), 1);
    const PartialSums<float> sums(parts, c);
    parallel_for(parts * tiles, 1, [&](Index task, Index) {
      const Index part = task / tiles, tile = task % tiles;
      const Index row = tile / across * size.rows, rows = std::min(size.rows, c.rows - row);
      const Index column = tile % across * size.columns, columns = std::min(size.columns, c.columns - column);
      const Index k = part * size.depth, depth = std::min(size.depth, b.rows - k);
      GemmEpilogue<float> here = PartialSums<float>::epilogue(part, epilogue);
      if (here.bias != nullptr) here.bias += column;
      run(a.block(row, k, rows, depth), b.block(k, column, depth, columns),
          sums.target(part).block(row, column, rows, columns), here);
    });
    sums.add();
  }

  /// The same on the calling thread alone.
  static void run(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                  const GemmEpilogue<float>& epilogue) {
    if (c.rows == 0 || c.columns == 0) return;
    const OneThread one_thread;  // the library may have been built for another OpenMP runtime than ours
    const SignalsHeldBack signals_held_back;
    bool accumulate = epilogue.accumulate;
    // Of nothing to sum up the library leaves C as it was.
    for (Index row = 0; row < c.rows && b.rows == 0 && !accumulate; ++row)
      std::fill_n(c.data + row * c.row_stride, c.columns, 0.0F);
    // What the library packs of a transposed A stays in the cache only if the inner dimension is short.
    const Index stretch = a.column_stride == 1 ? b.rows : even_part(b.rows, 512, line);
    for (Index k = 0; k < b.rows; k += stretch, accumulate = true) {
      const Index depth = std::min(stretch, b.rows - k);
      multiply_block(a.block(0, k, a.rows, depth), b.block(k, 0, depth, b.columns), c, accumulate);
    }
    if (epilogue.bias == nullptr) return;
    for (Index row = 0; row < c.rows; ++row) {
      float* to = c.data + row * c.row_stride;
      for (Index column = 0; column < c.columns; ++column) to[column] += epilogue.bias[column];
    }
  }

 private:
  static constexpr Index line = 16;  // numbers of a cache line

  /// What one call computes: a tile of C, a part of the inner dimension.
  struct Task {
    Index rows, columns, depth;
  };

  // The longest side is halved until there are enough tasks.
  static Task task_size(Index rows, Index columns, Index depth) {
    constexpr Index wanted_tasks = 8, smallest_side = 96, smallest_depth = 384;
    const Index most = std::min<Index>(PartialSums<float>::most_parts(rows * columns), 4);
    Task size{std::max<Index>(rows, 1), std::max<Index>(columns, 1), std::max<Index>(depth, 1)};
    for (Index tasks = 1, parts = 1; tasks < wanted_tasks; tasks *= 2) {
      Index& side = size.rows > size.columns ? size.rows : size.columns;
      if (size.depth > side && size.depth >= 2 * smallest_depth && 2 * parts <= most) {
        parts *= 2;
        size.depth = even_part(depth, ceil_divide(depth, parts), line);
      } else if (side >= 2 * smallest_side) {
        side = (side + 1) / 2;
      } else {
        break;
      }
    }
    return size;
  }

  static void multiply_block(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                             bool accumulate) {
    dnnl_sgemm(order(a), order(b), c.rows, c.columns, b.rows, 1.0F, a.data, stride(a), b.data, stride(b),
               accumulate ? 1.0F : 0.0F, c.data, c.row_stride);
  }

  // The library's generated code (2.6) uses the stack pointer as one more register. A signal handler that
  // runs on this thread meanwhile would take its stack frame from the middle of the matrices.
  class SignalsHeldBack {
   public:
    SignalsHeldBack() {
      sigset_t all;
      sigfillset(&all);
      for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&all, fault);
      pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsHeldBack(const SignalsHeldBack&) = delete;
    SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;
    ~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

   private:
    sigset_t before_;
  };

  static char order(const MatrixView<const float>& view) { return view.column_stride == 1 ? 'N' : 'T'; }
  static Index stride(const MatrixView<const float>& view) {
    return view.column_stride == 1 ? view.row_stride : view.column_stride;
  }
};

}  // namespace exfusion::kernels::detail
