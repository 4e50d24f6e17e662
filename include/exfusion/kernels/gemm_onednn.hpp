#pragma once

#include <algorithm>
#include <csignal>

#include <dnnl.h>
#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// Products by oneDNN's sgemm, each call on one thread.
struct OneDnnGemm {
  using T = float;
  using Source = float;

  /// C = scale * A B (+ C) (+ bias), any sizes, on all threads: in a few large tiles of C, as the library
  /// packs both operands anew for each. The tiles depend on the sizes alone, and so does the result.
  static void multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                       const GemmEpilogue<float>& epilogue) {
    constexpr Index wanted_tiles = 8, smallest = 96;
    Index rows = c.rows, columns = c.columns, tiles = 1;
    for (; tiles < wanted_tiles && std::max(rows, columns) >= 2 * smallest; tiles *= 2) {
      Index& longer = rows > columns ? rows : columns;
      longer = (longer + 1) / 2;
    }
    const Index across = columns == 0 ? 0 : (c.columns + columns - 1) / columns;
    const Index down = rows == 0 ? 0 : (c.rows + rows - 1) / rows;
    parallel_for(across * down, 1, [&](Index tile, Index) {
      const Index row = tile / across * rows, column = tile % across * columns;
      const Index rows_here = std::min(rows, c.rows - row),
                  columns_here = std::min(columns, c.columns - column);
      GemmEpilogue<float> part = epilogue;
      if (part.bias != nullptr) part.bias += column;
      run(a.block(row, 0, rows_here, a.columns), b.block(0, column, b.rows, columns_here),
          c.block(row, column, rows_here, columns_here), part);
    });
  }

  /// The same on the calling thread alone.
  static void run(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                  const GemmEpilogue<float>& epilogue) {
    if (c.rows == 0 || c.columns == 0) return;
    const OneThread one_thread;
    const SignalsHeldBack signals_held_back;
    if (b.rows == 0) {  // of which the library leaves C as it was
      for (Index row = 0; row < c.rows && !epilogue.accumulate; ++row)
        std::fill_n(c.data + row * c.row_stride, c.columns, 0.0F);
    } else {
      dnnl_sgemm(order(a), order(b), c.rows, c.columns, b.rows, epilogue.scale, a.data, stride(a), b.data,
                 stride(b), epilogue.accumulate ? 1.0F : 0.0F, c.data, c.row_stride);
    }
    if (epilogue.bias == nullptr) return;
    for (Index row = 0; row < c.rows; ++row) {
      float* to = c.data + row * c.row_stride;
      for (Index column = 0; column < c.columns; ++column) to[column] += epilogue.bias[column];
    }
  }

 private:
  // The library splits a product among threads of its own unless it is called in a parallel region, and a
  // grid of one tile is not in one. It may also have been built for another OpenMP runtime than ours.
  class OneThread {
   public:
    OneThread() { omp_set_num_threads(1); }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;
    ~OneThread() { omp_set_num_threads(before_); }

   private:
    int before_ = omp_get_max_threads();
  };

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
