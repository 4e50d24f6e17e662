#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels {

/// Product of a matrix and one vector, which takes the time of reading the matrix.
template <Scalar T>
struct MatrixVector {
  /// y = W x (+ y when `accumulate`) (+ bias [rows] when not null), for W [rows, columns] of column stride 1,
  /// x [columns], y [rows]. Parallel over rows; the result does not depend on the number of threads.
  static void multiply(MatrixView<const T> w, const T* x, T* y, bool accumulate, const T* bias = nullptr);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/matrix_vector-inl.hpp>
#endif
