#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// y = x / (1 + e^-x), element by element.
template <Scalar T>
struct Silu {
  /// y[i] = silu(x[i]) for i < size.
  static void forward(const T* x, T* y, Index size);
  /// dx[i] (+)= dy[i] * silu'(x[i]).
  static void backward(const T* x, const T* dy, GradientTarget<T> dx, Index size);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/silu-inl.hpp>
#endif
