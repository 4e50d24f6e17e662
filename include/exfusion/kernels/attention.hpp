#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Sizes of a multi-head attention over packed qkv [batch, tokens, 3 D], D = heads * d_head: queries, keys
/// and values along the last axis, heads contiguous inside each.
struct AttentionSizes {
  Index batch = 0;
  Index tokens = 0;
  Index heads = 0;
  Index d_head = 0;
  bool causal = false;

  Index d_model() const { return heads * d_head; }
};

/// Softmax attention without a [T, T] matrix in memory: FlashAttention (Dao et al., arXiv 2205.14135 and
/// 2307.08691). Blocks of queries meet blocks of keys on the stack, the softmax is kept up to date from one
/// to the next, and masked parts are skipped.
template <Scalar T>
struct Attention {
  /// Largest supported d_head.
  static constexpr Index max_d_head = 256;

  /// y = softmax(q k^T / sqrt(d_head)) v for each head: y [B, T, D], log_sum_exp [B, H, T] (may be null) the
  /// logarithm of each row's sum of exponentials. Parallel over heads and a few blocks of their queries.
  static void forward(const T* qkv, T* y, T* log_sum_exp, const AttentionSizes& sizes);

  /// The same in bf16: y is rounded, and so are the probabilities where the CPU multiplies bfloat16 numbers.
  /// Sums and the softmax keep all digits.
  static void forward(const Bfloat16* qkv, Bfloat16* y, T* log_sum_exp, const AttentionSizes& sizes);

  /// dqkv [B, T, 3D] (+)= the gradient through y and log_sum_exp as `forward` left them. Parallel over heads,
  /// and over parts of their keys where heads are few; the gradient of queries is summed up in scratch
  /// memory, about [T, d_head] for each thread, or for each part of all heads.
  static void backward(const T* qkv, const T* y, const T* log_sum_exp, const T* dy, GradientTarget<T> dqkv,
                       const AttentionSizes& sizes);
  /// The same in bf16; dqkv is overwritten, each number rounded once.
  static void backward(const Bfloat16* qkv, const Bfloat16* y, const T* log_sum_exp, const Bfloat16* dy,
                       Bfloat16* dqkv, const AttentionSizes& sizes);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/attention-inl.hpp>
#endif
