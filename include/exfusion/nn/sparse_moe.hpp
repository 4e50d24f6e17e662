#pragma once

#include <cmath>
#include <string_view>

#include <exfusion/nn/feed_forward.hpp>
#include <exfusion/ops/gelu.hpp>
#include <exfusion/ops/softmax.hpp>
#include <exfusion/ops/sparse_moe.hpp>

namespace exfusion {

/// How a mixture of experts routes.
struct SparseMoEOptions {
  Index experts = 8;  ///< E
  Index k = 2;        ///< Experts that serve each token.
  /// Factor of the load-balancing loss (arXiv 2101.03961, equation 4); 0 turns it off.
  double balance = 0.01;
  double router_std = 0.02;
};

/// A sparse mixture of experts in place of a feed-forward network: a router W_r [E, D] without bias gives
/// each token p = softmax(x W_r^T); its k most probable experts serve it and no token is dropped (Shazeer et
/// al., arXiv 1701.06538). The answers are weighted by p with k = 1 (Switch Transformer, arXiv 2101.03961),
/// by p divided by its sum over the chosen otherwise (Mixtral, arXiv 2401.04088). A token's answer depends on
/// that token alone. In training the load-balancing loss goes to `Tape::add_loss`.
template <Scalar T>
struct SparseMoE {
  /// The experts' matrices [E, d_out, d_in] and biases [E, d_out], stacked.
  struct Stack {
    Parameter<T> weight;
    Parameter<T> bias;

    static void fields(auto& self, auto&& visit) {
      visit("weight", self.weight);
      visit("bias", self.bias);
    }
  };

  Linear<T> router;
  Stack gate;  ///< Only with SwiGLU; empty otherwise.
  Stack up;
  Stack down;
  Activation activation = Activation::gelu_tanh;
  Index k = 2;
  double balance = 0.01;

  SparseMoE() = default;

  /// Independent experts, each initialised as a FeedForward. Throws ConfigError when a size is not positive,
  /// E not in [1, 65536], k not in [1, E], or another option negative or not finite.
  SparseMoE(const FeedForwardConfig& config, const SparseMoEOptions& options, Rng& rng)
      : SparseMoE(FeedForward<T>(config, rng), options, rng) {
    if (has_gate()) rng.fill_normal(gate.weight.values(), 0.0, config.init_std);
    rng.fill_normal(up.weight.values(), 0.0, config.init_std);
    rng.fill_normal(down.weight.values(), 0.0, config.down_init_std);
  }

  /// Every expert a copy of `dense` (sparse upcycling, arXiv 2212.05055), with a fresh router. Throws
  /// ConfigError as above.
  SparseMoE(const FeedForward<T>& dense, const SparseMoEOptions& options, Rng& rng)
      : activation(dense.activation), k(options.k), balance(options.balance) {
    check(options);
    router = Linear<T>(dense.up.weight.shape()[1], options.experts, options.router_std, rng, false);
    if (has_gate()) gate = copies(dense.gate, options.experts);
    up = copies(dense.up, options.experts);
    down = copies(dense.down, options.experts);
  }

  static void fields(auto& self, auto&& visit) {
    visit("router", self.router);
    if (self.has_gate()) visit("gate", self.gate);
    visit("up", self.up);
    visit("down", self.down);
  }

  bool has_gate() const { return activation == Activation::swiglu; }
  Index experts() const { return router.weight.shape()[0]; }

  /// x [..., D] to [..., D]. Throws ShapeError when the last axis is not D or there is no token.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    const Tensor<T> tokens = x.reshape({x.shape().rows(), x.shape().columns()});
    // In full precision, as which experts are chosen hangs on small differences (arXiv 2101.03961,
    // section 2.4).
    const Tensor<T> p = ops::softmax(ctx, router(ctx.with_precision(Precision::fp32), tokens));
    const ops::Routing<T> routing = ops::route(ctx, p, k);
    if (ctx.training && ctx.tape != nullptr && balance != 0) {
      ctx.tape->add_loss(ops::balance_loss(ctx, p, routing, balance));
    }
    const Tensor<T> dispatched = ops::dispatch(ctx, tokens, routing);
    const Tensor<T> rows = apply(ctx, dispatched, routing);
    ctx.release_rounded(dispatched);
    return ops::combine(ctx, rows, routing).reshape(x.shape());
  }

 private:
  static void check(const SparseMoEOptions& options) {
    constexpr Index most = Index{1} << 16;
    if (options.experts < 1 || options.experts > most) {
      throw ConfigError("sparse_moe", "experts = ", options.experts, ": it must be between 1 and ", most);
    }
    if (options.k < 1 || options.k > options.experts) {
      throw ConfigError("sparse_moe", "k = ", options.k, ": it must be between 1 and the number of experts, ",
                        options.experts);
    }
    check_not_negative("balance", options.balance);
    check_not_negative("router_std", options.router_std);
  }

  static void check_not_negative(std::string_view name, double value) {
    if (std::isfinite(value) && value >= 0) return;
    throw ConfigError("sparse_moe", name, " = ", value, ": it must be finite and not negative");
  }

  static Stack copies(const Linear<T>& layer, Index experts) {
    const Shape shape = layer.weight.shape();
    Stack stack{Parameter<T>({experts, shape[0], shape[1]}),
                Parameter<T>({experts, shape[0]}, ParameterOptions{.decay = false})};
    for (Index e = 0; e < experts; ++e) {
      std::ranges::copy(layer.weight.values(), stack.weight.data() + e * shape.size());
      std::ranges::copy(layer.bias.values(), stack.bias.data() + e * shape[0]);
    }
    return stack;
  }

  Tensor<T> apply(const Context<T>& ctx, const Tensor<T>& x, const ops::Routing<T>& routing) const {
    const Tensor<T> raised = ops::grouped_linear(ctx, x, up.weight, up.bias, routing);
    Tensor<T> hidden;
    if (has_gate()) {
      hidden = ops::swiglu(ctx, ops::grouped_linear(ctx, x, gate.weight, gate.bias, routing), raised);
    } else {
      hidden = ops::gelu(ctx, raised, gelu_form(activation));
      ctx.release_rounded(raised);
    }
    const Tensor<T> y = ops::grouped_linear(ctx, hidden, down.weight, down.bias, routing);
    ctx.release_rounded(hidden);
    return y;
  }
};

}  // namespace exfusion
