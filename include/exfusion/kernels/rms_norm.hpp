#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// y = x / sqrt(mean(x^2) + eps) * weight over rows of `width` elements.
template <Scalar T>
struct RmsNorm {
  /// x, y [rows, width]; weight [width]; saves 1 / sqrt(mean(x^2) + eps) [rows].
  static void forward(const T* x, const T* weight, Index rows, Index width, T eps, T* y, T* inverse_rms);
  /// Numbers of scratch memory that `backward` needs for the weight's gradient.
  static Index scratch_size(Index rows, Index width);
  /// A null target is not wanted.
  static void backward(const T* x, const T* weight, const T* inverse_rms, const T* dy, Index rows,
                       Index width, GradientTarget<T> dx, GradientTarget<T> dweight, T* scratch);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/rms_norm-inl.hpp>
#endif
