#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// A matrix somewhere in memory: element (r, c) is data[r * row_stride + c * column_stride]; one of the
/// strides is 1. A transpose swaps them and costs nothing.
template <class T>
struct MatrixView {
  T* data = nullptr;
  Index rows = 0;
  Index columns = 0;
  Index row_stride = 0;
  Index column_stride = 1;

  MatrixView transposed() const { return {data, columns, rows, column_stride, row_stride}; }
};

/// A row-major matrix without gaps between rows.
template <class T>
MatrixView<T> dense_matrix(T* data, Index rows, Index columns) {
  return {data, rows, columns, columns, 1};
}

/// General matrix product.
template <Scalar T>
struct Gemm {
  /// C = A B (+ C when `accumulate`) (+ bias [n] on every row when not null), with A [m, k], B [k, n], C [m,
  /// n]. C's column stride is 1. Parallel; the result does not depend on the number of threads.
  static void multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                       const T* bias = nullptr);

  /// The same on the calling thread alone, for products inside a parallel loop (attention).
  static void multiply_serial(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                              T scale = T{1});
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/gemm-inl.hpp>
#endif
