#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// Length of a vector, for gradient clipping.
template <Scalar T>
struct Norm {
  /// Sum of x[i]^2 in double, in an order that depends on `size` alone. Parallel.
  static double sum_of_squares(const T* x, Index size);
  /// x[i] *= factor. Parallel.
  static void scale(T* x, Index size, T factor);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/norm-inl.hpp>
#endif
