#pragma once

#include <cmath>
#include <concepts>
#include <type_traits>
#include <vector>

#include <exfusion/core/int_tensor.hpp>
#include <exfusion/models/config_check.hpp>
#include <exfusion/nn/transformer_block.hpp>
#include <exfusion/ops/add_position.hpp>
#include <exfusion/ops/embedding.hpp>
#include <exfusion/ops/linear_cross_entropy.hpp>
#include <exfusion/ops/select_token.hpp>

namespace exfusion {

struct GptConfig {
  Index vocab_size = 0;
  Index context = 0;  ///< Longest sequence, in tokens.
  Index layers = 0;
  Index heads = 0;
  Index d_model = 0;
  Index d_ff = 0;  ///< 0: four times d_model.
  double dropout = 0;
  Activation activation = Activation::gelu_tanh;
  double layer_norm_eps = 1e-5;

  /// d_ff with its default applied.
  Index hidden() const { return d_ff == 0 ? 4 * d_model : d_ff; }
};

/// The configuration itself. Throws ConfigError naming the first value that cannot work, and its limit.
inline const GptConfig& checked(const GptConfig& config) {
  constexpr std::string_view model = "gpt";
  detail::check_positive(model, "vocab_size", config.vocab_size);
  detail::check_positive(model, "context", config.context);
  detail::check_positive(model, "layers", config.layers);
  detail::check_positive(model, "heads", config.heads);
  detail::check_positive(model, "d_model", config.d_model);
  detail::check_size(model, "wte", {config.vocab_size, config.d_model});
  detail::check_size(model, "wpe", {config.context, config.d_model});
  detail::check_size(model, "attention", {4, config.layers, config.d_model, config.d_model});
  detail::check_positive(model, "d_ff", config.hidden());
  detail::check_size(model, "ffn", {3, config.layers, config.hidden(), config.d_model});
  detail::check_divides(model, "d_model", config.d_model, "heads", config.heads);
  detail::check_probability(model, "dropout", config.dropout);
  detail::check_epsilon(model, config.layer_norm_eps);
  return config;
}

/// GPT-2 (Radford et al., 2019): token and learned position embeddings, pre-norm causal Transformer blocks, a
/// final layer normalisation, and the token embedding again as the output layer. Initially as GPT-2: weights
/// ~ N(0, 0.02^2), those that write to the residual stream divided by sqrt(2 layers), biases 0.
template <Scalar T, Ffn<T> F = FeedForward<T>>
struct Gpt {
  static constexpr bool causal = true;

  GptConfig config;
  Parameter<T> wte;  ///< [V, D]
  Parameter<T> wpe;  ///< [context, D]
  std::vector<TransformerBlock<T, F>> blocks;
  LayerNorm<T> norm;

  Gpt() = default;

  /// A fresh model. `F` is a FeedForward, or a type constructed alike; models with any other FFN come from
  /// `transform_ffn`. Throws ConfigError as `checked` does.
  Gpt(const GptConfig& config_, Rng& rng) requires std::constructible_from<F, const FeedForwardConfig&, Rng&>
      : config(checked(config_)),
        wte(Parameter<T>::normal({config.vocab_size, config.d_model}, 0.02, rng)),
        wpe(Parameter<T>::normal({config.context, config.d_model}, 0.02, rng)),
        norm(config.d_model, config.layer_norm_eps) {
    const double residual_std = 0.02 / std::sqrt(2.0 * static_cast<double>(config.layers));
    for (Index layer = 0; layer < config.layers; ++layer) {
      blocks.push_back({LayerNorm<T>(config.d_model, config.layer_norm_eps),
                        MultiHeadAttention<T>(config.d_model, config.heads, causal, 0.02, residual_std, rng),
                        LayerNorm<T>(config.d_model, config.layer_norm_eps),
                        F(FeedForwardConfig{.d_model = config.d_model,
                                            .d_ff = config.hidden(),
                                            .activation = config.activation,
                                            .init_std = 0.02,
                                            .down_init_std = residual_std},
                          rng),
                        config.dropout});
    }
  }

  static void fields(auto& self, auto&& visit) {
    visit("wte", self.wte);
    visit("wpe", self.wpe);
    visit("blocks", self.blocks);
    visit("norm", self.norm);
  }

  /// tokens [B, T] to logits [B, T, V]; T is at most the context. Throws ShapeError, and as `embedding` does
  /// when an id is not in the vocabulary.
  Tensor<T> operator()(const Context<T>& ctx, const IntTensor& tokens) const {
    return ops::linear(ctx, hidden(ctx, tokens), wte);
  }

  /// tokens [B, T] and targets [B, T] to their mean cross-entropy, a scalar []: as `cross_entropy` of the
  /// logits, but the logits exist block by block (`ops::linear_cross_entropy`). Throws as both do.
  Tensor<T> loss(const Context<T>& ctx, const IntTensor& tokens, const IntTensor& targets,
                 const CrossEntropyOptions& options = {}) const {
    return ops::linear_cross_entropy(ctx, hidden(ctx, tokens), wte, targets, options);
  }

  /// tokens [B, T] to the last position's logits [B, V], for generation: the other positions' are not
  /// computed.
  Tensor<T> last_logits(const Context<T>& ctx, const IntTensor& tokens) const {
    const Tensor<T> x = hidden(ctx, tokens);
    return ops::linear(ctx, ops::select_token(ctx, x, tokens.shape()[1] - 1), wte);
  }

  /// tokens [B, T] to what the output layer sees, [B, T, D].
  Tensor<T> hidden(const Context<T>& ctx, const IntTensor& tokens) const {
    check_tokens(tokens);
    Tensor<T> x = ops::add_position(ctx, ops::embedding(ctx, tokens, wte), wpe);
    x = ops::dropout(ctx, x, config.dropout);
    for (const auto& block : blocks) x = block(ctx, x);
    return norm(ctx, x);
  }

  /// The same model with `make(ffn, layer)` in place of each feed-forward network; the rest is copied deeply.
  template <std::invocable<const F&, Index> Make>
  auto transform_ffn(Make make) const {
    using Made = std::remove_cvref_t<std::invoke_result_t<Make&, const F&, Index>>;
    Gpt<T, Made> result;
    result.config = config;
    result.wte = wte;
    result.wpe = wpe;
    result.norm = norm;
    for (const auto& block : blocks) {
      result.blocks.push_back(block.with_ffn(make(block.ffn, static_cast<Index>(result.blocks.size()))));
    }
    return result;
  }

 private:
  void check_tokens(const IntTensor& tokens) const {
    const Shape& shape = tokens.shape();
    if (shape.rank() != 2 || shape.size() == 0) {
      throw ShapeError("gpt", "tokens are ", shape, ": they must be [batch, length], neither of them 0");
    }
    if (shape[1] > config.context) {
      throw ShapeError("gpt", "tokens are ", shape, ": ", shape[1], " tokens exceed the model's context of ",
                       config.context);
    }
  }
};

}  // namespace exfusion
