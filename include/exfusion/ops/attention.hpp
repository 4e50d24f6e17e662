#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/attention.hpp>

namespace exfusion::ops {

template <Scalar T>
struct AttentionNode {
  static constexpr std::string_view name = "attention";
  Tensor<T> qkv, log_sum_exp, y;
  kernels::AttentionSizes sizes;

  void backward() const {
    if (!qkv.requires_grad()) return;
    kernels::Attention<T>::backward(qkv.data(), y.data(), log_sum_exp.data(), y.grad().data(),
                                    qkv.open_gradient(), sizes);
  }
};

/// Throws ConfigError unless `n_heads` divides `d_model` and is at least 1.
inline void check_heads(Index d_model, Index n_heads) {
  if (n_heads < 1 || d_model % n_heads != 0) {
    throw ConfigError("attention", "n_heads = ", n_heads,
                      " must be at least 1 and divide d_model = ", d_model);
  }
}

/// Multi-head scaled dot-product attention (Vaswani et al., arXiv 1706.03762): for each head
/// y = softmax(q k^T / sqrt(d_head)) v. qkv [B, T, 3D] holds queries, keys and values along its last axis,
/// heads contiguous inside each; y is [B, T, D]. `causal` hides later tokens from earlier ones.
/// Throws ShapeError when qkv has another rank, its last axis is not 3D, or d_head is over 256; ConfigError
/// when `n_heads` does not divide D.
template <Scalar T>
Tensor<T> attention(const Context<T>& ctx, const Tensor<T>& qkv, Index n_heads, bool causal) {
  if (qkv.shape().rank() != 3 || qkv.shape()[-1] % 3 != 0 || qkv.shape()[-1] == 0) {
    throw ShapeError("attention", "qkv is ", qkv.shape(), ": it must be [B, T, 3D]");
  }
  const Index batch = qkv.shape()[0], tokens = qkv.shape()[1], d_model = qkv.shape()[2] / 3;
  check_heads(d_model, n_heads);
  const kernels::AttentionSizes sizes{
      batch, tokens, n_heads, d_model / n_heads, causal, ctx.precision == Precision::bf16};
  constexpr Index limit = kernels::Attention<T>::max_d_head;
  if (sizes.d_head > limit) {
    throw ShapeError("attention", "d_head is ", sizes.d_head, " (qkv ", qkv.shape(), ", n_heads ", n_heads,
                     "): it can be at most ", limit);
  }
  const Tensor<T> y = ctx.output({batch, tokens, d_model}, qkv);
  const Tensor<T> log_sum_exp = y.requires_grad() ? ctx.saved({batch, n_heads, tokens}) : Tensor<T>();
  kernels::Attention<T>::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes);
  ctx.record(y, AttentionNode<T>{qkv, log_sum_exp, y, sizes});
  return y;
}

}  // namespace exfusion::ops
