#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Where layer_norm's backward pass writes; a null target is not wanted.
template <Scalar T>
struct LayerNormGradients {
  GradientTarget<T> x, weight, bias;
};

/// y = (x - mean) / sqrt(variance + eps) * weight + bias over rows of `width` elements.
template <Scalar T>
struct LayerNorm {
  /// x, y [rows, width]; weight, bias [width]; saves mean and 1 / sqrt(variance + eps) [rows].
  static void forward(const T* x, const T* weight, const T* bias, Index rows, Index width, T eps, T* y,
                      T* mean, T* inverse_std);
  /// Numbers of scratch memory that `backward` needs for the gradients of weight and bias.
  static Index scratch_size(Index rows, Index width);
  static void backward(const T* x, const T* weight, const T* mean, const T* inverse_std, const T* dy,
                       Index rows, Index width, const LayerNormGradients<T>& gradients, T* scratch);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/layer_norm-inl.hpp>
#endif
