#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Moves whole tokens of a sequence [B, T, D]. A block is a run of consecutive tokens of each sequence.
template <Scalar T>
struct Tokens {
  /// to[b] (+)= from[b] for every sequence b < batch, `size` numbers each, at distances of `from_stride` and
  /// `to_stride` numbers between sequences. A stride of 0 repeats the same block.
  static void copy_blocks(const T* from, Index from_stride, GradientTarget<T> to, Index to_stride,
                          Index batch, Index size);
  /// y[b, d] (+)= scale * sum over t of x[b, t, d], for blocks of `tokens` tokens at `x_stride` numbers.
  static void sum_tokens(const T* x, Index x_stride, GradientTarget<T> y, Index batch, Index tokens,
                         Index width, T scale);
  /// x[b, t, d] (+)= scale * y[b, d] for every token of the block.
  static void spread(const T* y, GradientTarget<T> x, Index x_stride, Index batch, Index tokens, Index width,
                     T scale);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/tokens-inl.hpp>
#endif
