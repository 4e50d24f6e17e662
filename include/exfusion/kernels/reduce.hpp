#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Sums along the rows of a matrix.
template <Scalar T>
struct Reduce {
  /// sum[c] (+)= scale * sum over r of x[r, c], for x [rows, columns]. Parallel, in a fixed order of
  /// summation.
  static void sum_rows(const T* x, Index rows, Index columns, T scale, GradientTarget<T> sum);

  /// The same of rounded numbers, with a scale of 1.
  static void sum_rows(const Bfloat16* x, Index rows, Index columns, GradientTarget<T> sum);

  /// The same of exact ones, and on the way `rounded` [rows, columns] becomes x in bfloat16.
  static void round_and_sum_rows(const T* x, Bfloat16* rounded, Index rows, Index columns,
                                 GradientTarget<T> sum);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/reduce-inl.hpp>
#endif
