#pragma once

#include <concepts>

#include <exfusion/nn/linear.hpp>
#include <exfusion/ops/gelu_feed_forward.hpp>
#include <exfusion/ops/swiglu.hpp>

namespace exfusion {

/// What stands between a feed-forward network's matrices. gelu_tanh and gelu_erf: the two forms of GELU
/// (arXiv 1606.08415); swiglu: silu(x W_gate^T) * (x W_up^T) (Shazeer, arXiv 2002.05202), a third matrix.
enum class Activation { gelu_tanh, gelu_erf, swiglu };

/// Which GELU, unless it is SwiGLU.
constexpr GeluForm gelu_form(Activation activation) {
  return activation == Activation::gelu_erf ? GeluForm::erf : GeluForm::tanh;
}

/// Any module that can stand in a Transformer block as its feed-forward network: x [..., D] to [..., D].
template <class F, class T>
concept Ffn = Scalar<T> && Module<F> && requires(const F& ffn, const Context<T>& ctx, const Tensor<T>& x) {
  { ffn(ctx, x) } -> std::convertible_to<Tensor<T>>;
};

/// A network that promises, by `static constexpr bool between_linears = true`, that it begins and ends with
/// linear operations: no backward pass reads its input but through them, or its result at all.
template <class F>
concept BetweenLinears = requires {
  requires F::between_linears;
};

struct FeedForwardConfig {
  Index d_model = 0;
  Index d_ff = 0;
  Activation activation = Activation::gelu_tanh;
  double init_std = 0.02;       ///< Standard deviation of gate.weight and up.weight.
  double down_init_std = 0.02;  ///< Standard deviation of down.weight.
};

/// The numbers that a feed-forward network computes with, wherever they live: gate and up [F, D] with bias
/// [F], down [D, F] with bias [D]. Gate only for SwiGLU; an absent bias counts as zero.
template <Scalar T>
struct FeedForwardWeights {
  Tensor<T> gate_weight, gate_bias;
  Tensor<T> up_weight, up_bias;
  Tensor<T> down_weight, down_bias;
};

/// y = act(x W_up^T + b_up) W_down^T + b_down, for SwiGLU (silu(x W_gate^T + b_gate) * (x W_up^T + b_up))
/// W_down^T + b_down: x [..., D] to [..., D]. Throws ShapeError when the axes do not fit.
template <Scalar T>
Tensor<T> feed_forward(const Context<T>& ctx, const Tensor<T>& x, const FeedForwardWeights<T>& weights,
                       Activation activation) {
  if (activation != Activation::swiglu) {
    return ops::gelu_feed_forward(ctx, x, weights.up_weight, weights.up_bias, weights.down_weight,
                                  weights.down_bias, gelu_form(activation));
  }
  const Tensor<T> up = ops::linear(ctx, x, weights.up_weight, weights.up_bias);
  const Tensor<T> gate = ops::linear(ctx, x, weights.gate_weight, weights.gate_bias);
  const Tensor<T> hidden = ops::swiglu(ctx, gate, up);
  const Tensor<T> y = ops::linear(ctx, hidden, weights.down_weight, weights.down_bias);
  ctx.release_rounded(hidden);
  return y;
}

/// The dense feed-forward network of a Transformer block. Initially weights ~ N(0, std^2), biases 0.
template <Scalar T>
struct FeedForward {
  static constexpr bool between_linears = true;

  Linear<T> gate;  ///< Only with SwiGLU; empty otherwise.
  Linear<T> up;
  Linear<T> down;
  Activation activation = Activation::gelu_tanh;

  FeedForward() = default;
  /// Throws ConfigError when a size is not positive.
  FeedForward(const FeedForwardConfig& config, Rng& rng) : activation(config.activation) {
    if (config.d_model < 1 || config.d_ff < 1) {
      throw ConfigError("feed_forward", "d_model = ", config.d_model, ", d_ff = ", config.d_ff,
                        ": both must be positive");
    }
    if (has_gate()) gate = Linear<T>(config.d_model, config.d_ff, config.init_std, rng);
    up = Linear<T>(config.d_model, config.d_ff, config.init_std, rng);
    down = Linear<T>(config.d_ff, config.d_model, config.down_init_std, rng);
  }

  static void fields(auto& self, auto&& visit) {
    if (self.has_gate()) visit("gate", self.gate);
    visit("up", self.up);
    visit("down", self.down);
  }

  bool has_gate() const { return activation == Activation::swiglu; }

  FeedForwardWeights<T> weights() const {
    return {gate.weight, gate.bias, up.weight, up.bias, down.weight, down.bias};
  }

  /// x [..., D] to [..., D]. Throws ShapeError when the last axis is not D.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    return feed_forward(ctx, x, weights(), activation);
  }
};

}  // namespace exfusion
