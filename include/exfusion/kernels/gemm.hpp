#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/operand.hpp>

namespace exfusion::kernels {

/// General matrix product.
template <Scalar T>
struct Gemm {
  /// C = A B (+ C when `accumulate`) (+ bias [n] on every row when not null), with A [m, k], B [k, n], C [m,
  /// n]. C's column stride is 1. Parallel; the result does not depend on the number of threads.
  static void multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                       const T* bias = nullptr);

  /// The same of operands that are both exact or both rounded: products of bfloat16 numbers are exact and are
  /// summed up in T.
  static void multiply(const Operand<T>& a, const Operand<T>& b, MatrixView<T> c, bool accumulate,
                       const T* bias = nullptr);

  /// C [m, n] = A B (+ bias [n] when not null), summed up in T and rounded to bfloat16 once. Both operands
  /// must be rounded; C's column stride is 1. Parallel, as above.
  static void multiply_rounded(const Operand<T>& a, const Operand<T>& b, MatrixView<Bfloat16> c,
                               const T* bias = nullptr);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/gemm-inl.hpp>
#endif
