#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Sums along the rows of a matrix.
template <Scalar T>
struct Reduce {
  /// sum[c] (+)= scale * sum over r of x[r, c], for x [rows, columns]. Parallel, in a fixed order of
  /// summation.
  static void sum_rows(const T* x, Index rows, Index columns, T scale, GradientTarget<T> sum);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/reduce-inl.hpp>
#endif
