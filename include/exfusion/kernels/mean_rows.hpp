#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// The mean of a matrix's rows.
template <Scalar T>
struct MeanRows {
  /// y[c] = mean over r of x[r, c], for x [rows, columns].
  static void forward(const T* x, Index rows, Index columns, T* y);
  /// dx[r, c] (+)= dy[c] / rows.
  static void backward(const T* dy, Index rows, Index columns, GradientTarget<T> dx);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/mean_rows-inl.hpp>
#endif
