#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// y = silu(gate) * up, element by element.
template <Scalar T>
struct Swiglu {
  /// y[i] = silu(gate[i]) * up[i] for i < size.
  static void forward(const T* gate, const T* up, T* y, Index size);
  /// dgate[i] (+)= dy[i] * up[i] * silu'(gate[i]), dup[i] (+)= dy[i] * silu(gate[i]); a null target is not
  /// wanted.
  static void backward(const T* gate, const T* up, const T* dy, GradientTarget<T> dgate,
                       GradientTarget<T> dup, Index size);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/swiglu-inl.hpp>
#endif
