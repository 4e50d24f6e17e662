#pragma once

#include <utility>

#include <exfusion/nn/attention.hpp>
#include <exfusion/nn/feed_forward.hpp>
#include <exfusion/nn/layer_norm.hpp>
#include <exfusion/ops/add.hpp>
#include <exfusion/ops/drop_path.hpp>
#include <exfusion/ops/dropout.hpp>
#include <exfusion/ops/recompute.hpp>

namespace exfusion {

/// Pre-norm Transformer block (arXiv 2002.04745):
///   x = x + drop(attention(norm1(x))),   x = x + drop(ffn(norm2(x))),
/// drop being dropout (per number) followed by drop_path (per sample; stochastic depth, arXiv 1603.09382).
/// Any type that satisfies `Ffn` can be the feed-forward network.
template <Scalar T, Ffn<T> F = FeedForward<T>>
struct TransformerBlock {
  LayerNorm<T> norm1;
  MultiHeadAttention<T> attention;
  LayerNorm<T> norm2;
  F ffn;
  double dropout = 0;
  double drop_path = 0;

  static void fields(auto& self, auto&& visit) {
    visit("norm1", self.norm1);
    visit("attention", self.attention);
    visit("norm2", self.norm2);
    visit("ffn", self.ffn);
  }

  /// x [B, T, D] to [B, T, D]. Throws ShapeError when the last axis is not D. With `ctx.recompute` the block
  /// must stay where it is until the backward pass.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    if (!ctx.recompute) return forward(ctx, x);
    return ops::recompute(
        ctx, x, [this](const Context<T>& again, const Tensor<T>& input) { return forward(again, input); });
  }

  /// A deep copy of everything but the feed-forward network, which `other` replaces.
  template <Ffn<T> Other>
  TransformerBlock<T, Other> with_ffn(Other other) const {
    return {norm1, attention, norm2, std::move(other), dropout, drop_path};
  }

 private:
  Tensor<T> forward(const Context<T>& ctx, const Tensor<T>& x) const {
    const Tensor<T> attended = add(ctx, x, norm1(ctx, x), attention);
    return add(ctx, attended, norm2(ctx, attended), ffn);
  }

  // x + drop(branch(normed)). What nothing reads again goes back to the arena at once.
  template <class Branch>
  Tensor<T> add(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& normed,
                const Branch& branch) const {
    const Tensor<T> result = branch(ctx, normed);
    const Tensor<T> dropped = ops::dropout(ctx, result, dropout);
    const Tensor<T> kept = ops::drop_path(ctx, dropped, drop_path);
    const Tensor<T> y = ops::add(ctx, x, kept);
    if (kept.data() != dropped.data()) ctx.release(kept);
    if (dropped.data() != result.data()) ctx.release(dropped);
    if constexpr (BetweenLinears<Branch>) {
      ctx.release(result);
      ctx.release_rounded(normed);
    }
    return y;
  }
};

}  // namespace exfusion
