#pragma once

#include <string_view>

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

/// Sizes of an attention over qkv of this shape. Throws ShapeError when it is not [B, T, 3D] or d_head is
/// over 256; ConfigError when `n_heads` does not divide D.
inline kernels::AttentionSizes attention_sizes(const Shape& qkv, Index n_heads, bool causal) {
  if (qkv.rank() != 3 || qkv[-1] % 3 != 0 || qkv[-1] == 0) {
    throw ShapeError("attention", "qkv is ", qkv, ": it must be [B, T, 3D]");
  }
  const Index d_model = qkv[2] / 3;
  check_heads(d_model, n_heads);
  const kernels::AttentionSizes sizes{qkv[0], qkv[1], n_heads, d_model / n_heads, causal};
  constexpr Index limit = kernels::Attention<float>::max_d_head;
  if (sizes.d_head > limit) {
    throw ShapeError("attention", "d_head is ", sizes.d_head, " (qkv ", qkv, ", n_heads ", n_heads,
                     "): it can be at most ", limit);
  }
  return sizes;
}

/// Multi-head scaled dot-product attention (Vaswani et al., arXiv 1706.03762): for each head
/// y = softmax(q k^T / sqrt(d_head)) v. qkv [B, T, 3D] holds queries, keys and values along its last axis,
/// heads contiguous inside each; y is [B, T, D]. `causal` hides later tokens from earlier ones. All digits
/// are kept in bf16 too (`self_attention` is what rounds). Throws ShapeError and ConfigError as
/// `attention_sizes` does.
template <Scalar T>
Tensor<T> attention(const Context<T>& ctx, const Tensor<T>& qkv, Index n_heads, bool causal) {
  const kernels::AttentionSizes sizes = attention_sizes(qkv.shape(), n_heads, causal);
  const Tensor<T> y = ctx.output(qkv.shape().with_columns(sizes.d_model()), qkv);
  const Tensor<T> log_sum_exp =
      y.requires_grad() ? ctx.saved({sizes.batch, sizes.heads, sizes.tokens}) : Tensor<T>();
  kernels::Attention<T>::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes);
  ctx.record(y, AttentionNode<T>{qkv, log_sum_exp, y, sizes});
  return y;
}

}  // namespace exfusion::ops
