#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// p = e^z / sum e^z over rows.
template <Scalar T>
struct Softmax {
  /// z, p [rows, width].
  static void forward(const T* z, Index rows, Index width, T* p);
  /// dz (+)= p * (dp - sum(p * dp)).
  static void backward(const T* p, const T* dp, Index rows, Index width, GradientTarget<T> dz);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/softmax-inl.hpp>
#endif
