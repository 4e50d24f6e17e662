#pragma once

#include <exfusion/nn/linear.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/self_attention.hpp>

namespace exfusion {

/// Multi-head self-attention (arXiv 1706.03762) with biases, as in GPT-2 and ViT: qkv = Linear [3D, D], heads
/// contiguous inside each of q, k and v; then projection = Linear [D, D].
template <Scalar T>
struct MultiHeadAttention {
  static constexpr bool between_linears = true;

  Linear<T> qkv;
  Linear<T> projection;
  Index n_heads = 1;
  bool causal = false;

  MultiHeadAttention() = default;
  /// Weights ~ N(0, std^2) and N(0, projection_std^2), biases 0. Throws ConfigError when the heads do not
  /// divide d_model.
  MultiHeadAttention(Index d_model, Index heads, bool is_causal, double std, double projection_std, Rng& rng)
      : n_heads(heads), causal(is_causal) {
    ops::check_heads(d_model, heads);
    qkv = Linear<T>(d_model, 3 * d_model, std, rng);
    projection = Linear<T>(d_model, d_model, projection_std, rng);
  }

  static void fields(auto& self, auto&& visit) {
    visit("qkv", self.qkv);
    visit("projection", self.projection);
  }

  /// x [B, T, D] to [B, T, D]. Throws ShapeError when x has another rank or width.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    return ops::self_attention(ctx, x, qkv.weight, qkv.bias, projection.weight, projection.bias, n_heads,
                               causal);
  }
};

}  // namespace exfusion
