#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Element-by-element sum, and the copy that is its backward pass.
template <Scalar T>
struct Add {
  /// y[i] = a[i] + b[i] for i < size.
  static void forward(const T* a, const T* b, T* y, Index size);
  /// dx[i] (+)= dy[i].
  static void backward(const T* dy, GradientTarget<T> dx, Index size);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/add-inl.hpp>
#endif
