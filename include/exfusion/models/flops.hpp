#pragma once

#include <exfusion/models/gpt.hpp>
#include <exfusion/models/vit.hpp>

namespace exfusion {

/// The feed-forward work of one token. The default serves dense and fused networks alike: a fused network
/// computes with one set of weights, and what it takes to sum them is counted apart (`fuse_flops`).
struct FfnWork {
  Index networks = 1;        ///< Feed-forward networks that each token passes through: k of a SparseMoE.
  Index router_outputs = 0;  ///< Numbers that a router computes for each token: E of a SparseMoE.
};

/// Floating-point operations of one forward pass by kind. A matrix product [m, k] x [k, n] counts 2 m n k.
/// Embedding look-ups, normalisations, activations, softmax, biases and the loss do not count: they are
/// bound by memory, and small beside the products.
struct FlopCount {
  double input = 0;        ///< Patch embedding of a ViT.
  double projections = 0;  ///< The attention's linear maps: D to 3D and D to D.
  double attention = 0;    ///< q k^T and the weighted sum of v, over the pairs of tokens that see each other.
  double feed_forward = 0;  ///< With the routers of sparse mixtures.
  double output = 0;        ///< The output layer, or the classifier.

  /// Of all Transformer blocks: what recomputation does a second time.
  double blocks() const { return projections + attention + feed_forward; }
  double total() const { return input + blocks() + output; }
};

namespace detail {

/// Numbers in the matrices of one feed-forward network.
inline double ffn_matrix_size(Index d_model, Index d_ff, Activation activation) {
  const double matrices = activation == Activation::swiglu ? 3 : 2;
  return matrices * static_cast<double>(d_model) * static_cast<double>(d_ff);
}

/// All blocks of a model: `sequences` of `tokens` tokens, of which `pairs` see each other in each sequence.
template <class Config>
FlopCount count_blocks(const Config& config, Index sequences, Index tokens, double pairs,
                       const FfnWork& work) {
  const auto layers = static_cast<double>(config.layers), d_model = static_cast<double>(config.d_model);
  const auto batch = static_cast<double>(sequences);
  const double rows = batch * static_cast<double>(tokens);
  const double matrices = ffn_matrix_size(config.d_model, config.hidden(), config.activation);
  const double networks = static_cast<double>(work.networks) * matrices;
  const double router = static_cast<double>(work.router_outputs) * d_model;
  FlopCount count;
  count.projections = 2 * layers * rows * 4 * d_model * d_model;
  count.attention = 2 * layers * batch * pairs * 2 * d_model;
  count.feed_forward = 2 * layers * rows * (networks + router);
  return count;
}

inline void check_flop_sizes(Index batch, Index tokens, const FfnWork& work) {
  check_positive("flops", "batch", batch);
  check_positive("flops", "tokens", tokens);
  check_positive("flops", "networks", work.networks);
  if (work.router_outputs < 0) {
    throw ConfigError("flops", "router_outputs = ", work.router_outputs, ": it must not be negative");
  }
}

}  // namespace detail

/// One forward pass of a Gpt over `batch` sequences of `tokens` tokens, with logits for every token. Causal
/// attention counts T (T + 1) / 2 pairs of tokens. Throws ConfigError when the configuration cannot work or
/// a size is not positive.
inline FlopCount forward_flops(const GptConfig& config, Index batch, Index tokens, const FfnWork& work = {}) {
  checked(config);
  detail::check_flop_sizes(batch, tokens, work);
  const auto length = static_cast<double>(tokens);
  FlopCount count = detail::count_blocks(config, batch, tokens, length * (length + 1) / 2, work);
  count.output = 2 * static_cast<double>(batch) * length * static_cast<double>(config.d_model) *
                 static_cast<double>(config.vocab_size);
  return count;
}

/// One forward pass of a Vit over `batch` images. Attention counts all T x T pairs of tokens. Throws
/// ConfigError as above.
inline FlopCount forward_flops(const VitConfig& config, Index batch, const FfnWork& work = {}) {
  checked(config);
  detail::check_flop_sizes(batch, config.tokens(), work);
  const auto length = static_cast<double>(config.tokens()), d_model = static_cast<double>(config.d_model);
  const auto images = static_cast<double>(batch);
  FlopCount count = detail::count_blocks(config, batch, config.tokens(), length * length, work);
  const auto patch = static_cast<double>(config.channels * config.patch_size * config.patch_size);
  count.input = 2 * images * static_cast<double>(config.patches()) * patch * d_model;
  count.output = 2 * images * d_model * static_cast<double>(config.classes);
  return count;
}

/// One training step: forward and backward, three times the forward pass (each product's gradient is two
/// products of the same size; that of a ViT's images, which nobody needs, is counted too). With `recompute`
/// the blocks go forward twice. The optimizer's work does not count.
inline double training_flops(const FlopCount& forward, bool recompute = false) {
  return 3 * forward.total() + (recompute ? forward.blocks() : 0);
}

/// The same for a Gpt. Throws as `forward_flops` does.
inline double training_flops(const GptConfig& config, Index batch, Index tokens, const FfnWork& work = {}) {
  return training_flops(forward_flops(config, batch, tokens, work));
}

/// The same for a Vit. Throws as `forward_flops` does.
inline double training_flops(const VitConfig& config, Index batch, const FfnWork& work = {}) {
  return training_flops(forward_flops(config, batch, work));
}

/// Summing the matrices of E experts in all layers, W = sum_i a_i W_i: 2 E P, once in each optimizer step.
/// `Config` is GptConfig or VitConfig. Throws ConfigError when the configuration cannot work or `experts` is
/// not positive.
template <class Config>
double fuse_flops(const Config& config, Index experts) {
  checked(config);
  detail::check_positive("flops", "experts", experts);
  return 2 * static_cast<double>(config.layers) * static_cast<double>(experts) *
         detail::ffn_matrix_size(config.d_model, config.hidden(), config.activation);
}

}  // namespace exfusion
