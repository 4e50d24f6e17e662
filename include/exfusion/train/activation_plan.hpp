#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include <exfusion/core/buffer.hpp>
#include <exfusion/kernels/layer_norm.hpp>
#include <exfusion/kernels/sparse_moe.hpp>
#include <exfusion/models/ffn_config.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/vit.hpp>

namespace exfusion::train {

enum class FfnKind { dense, fused, sparse };
enum class RuleKind { fixed, learned, memory_bank };

/// Which feed-forward networks stand in a model's blocks.
struct FfnPlan {
  FfnKind kind = FfnKind::dense;
  Index experts = 1;                                         ///< fused, sparse
  Index k = 1;                                               ///< sparse: experts that serve each token.
  RuleKind rule = RuleKind::memory_bank;                     ///< fused
  FusionGranularity granularity = FusionGranularity::layer;  ///< fused, learned
};

/// The plan of the networks that `config` asks for.
inline FfnPlan ffn_plan(const FfnConfig& config) {
  if (const auto* mixture = std::get_if<SparseMoEOptions>(&config))
    return {.kind = FfnKind::sparse, .experts = mixture->experts, .k = mixture->k};
  const auto* fused = std::get_if<FusedFfnConfig>(&config);
  if (fused == nullptr) return {};
  FfnPlan plan{.kind = FfnKind::fused, .experts = fused->experts};
  if (std::holds_alternative<StaticFusionOptions>(fused->rule)) plan.rule = RuleKind::fixed;
  if (const auto* learned = std::get_if<LearnedFusionOptions>(&fused->rule)) {
    plan.rule = RuleKind::learned;
    plan.granularity = learned->granularity;
  }
  return plan;
}

/// One pass of training.
struct PassPlan {
  Index batch = 1;         ///< Sequences or images.
  Index tokens = 0;        ///< GPT: tokens of a sequence; 0: the model's context. ViT: ignored.
  bool recompute = false;  ///< Context::recompute.
  Precision precision = Precision::fp32;
};

/// The arena's blocks for float arrays of one pass, by arithmetic alone: a block that is given back is used
/// again for an array of the same size only.
class BlockCount {
 public:
  /// Takes a block for so many numbers, until it is closed or the tape is cleared.
  void open(double numbers) {
    Uses& uses = blocks_[bytes_of(numbers)];
    uses.most = std::max(uses.most, ++uses.now);
  }
  /// Gives one of the blocks for so many numbers back.
  void close(double numbers) { --blocks_[bytes_of(numbers)].now; }
  /// Counts memory of other arenas.
  void add_bytes(double bytes) { others_ += bytes; }

  /// All distinct blocks.
  double bytes() const {
    double sum = others_;
    for (const auto& [bytes, uses] : blocks_) sum += bytes * uses.most;
    return sum;
  }

 private:
  struct Uses {
    double now = 0, most = 0;
  };

  static double bytes_of(double numbers) {
    constexpr double line = storage_alignment;
    return std::max(line, std::ceil(numbers * sizeof(float) / line) * line);
  }

  double others_ = 0;
  std::map<double, Uses> blocks_;
};

/// What the blocks of a model need for one pass: the operations of TransformerBlock, in its order.
struct BlockPlan {
  double rows = 0;  ///< n: tokens of the whole batch.
  double d_model = 0;
  double d_ff = 0;
  double heads = 0;
  bool gated = false;  ///< SwiGLU.
  bool dropout = false;
  bool rounds =
      false;  ///< bf16: linear operations keep a rounded copy of their input, others no exact result.
  FfnPlan ffn;

  double width() const { return rows * d_model; }
  double experts() const { return static_cast<double>(ffn.experts); }

  /// What a linear operation keeps of an input of so many numbers.
  void round(BlockCount& count, double input) const {
    if (rounds) count.open(input / 2);
  }
  /// Gives the copy back.
  void close_copy(BlockCount& count, double numbers) const {
    if (rounds) count.close(numbers / 2);
  }
  /// Gives back what is read in its rounded form from now on.
  void close_rounded(BlockCount& count, double numbers) const {
    if (rounds) count.close(numbers);
  }

  /// Layer normalisation: y, mean, 1 / std, scratch.
  void normalise(BlockCount& count) const {
    count.open(width());
    count.open(rows);
    count.open(rows);
    const auto scratch =
        kernels::LayerNorm<float>::scratch_size(static_cast<Index>(rows), static_cast<Index>(d_model));
    count.open(static_cast<double>(scratch));
  }

  void forward(BlockCount& count, bool drop_path) const {
    normalise(count);
    forward_attention(count);
    forward_sum(count, drop_path, true);
    normalise(count);
    ffn.kind == FfnKind::sparse ? forward_sparse(count) : forward_ffn(count);
    forward_sum(count, drop_path, ffn.kind != FfnKind::sparse);
  }

  // At its beginning the residual stream's gradient is open, and a sum hands it on. So it is at the end,
  // unless the block is `recomputed`: then the first sum writes to a gradient outside.
  void backward(BlockCount& count, bool drop_path, bool recomputed) const {
    backward_sum(count, drop_path, false);
    ffn.kind == FfnKind::sparse ? backward_sparse(count) : backward_ffn(count);
    count.close(width());  // norm2 adds to the residual stream's
    backward_sum(count, drop_path, recomputed);
    backward_attention(count);
    count.close(width());
  }

 private:
  /// An operation's input gets its gradient, then the output's goes.
  static void replace(BlockCount& count, double output, double input) {
    count.open(input);
    count.close(output);
  }

  void replace_linear(BlockCount& count, double output, double input) const {
    round(count, output);
    count.open(input);
    close_copy(count, output);
    count.close(output);
  }

  // A branch `between_linears` gives back its result, and in bf16 the normalised input.
  void forward_sum(BlockCount& count, bool drop_path, bool between_linears) const {
    const int drops = static_cast<int>(dropout) + static_cast<int>(drop_path);
    for (int i = 0; i <= drops; ++i) count.open(width());
    for (int i = 0; i < drops; ++i) count.close(width());
    if (between_linears) count.close(width());
    if (between_linears) close_rounded(count, width());
  }
  void backward_sum(BlockCount& count, bool drop_path, bool ends) const {
    count.open(width());
    if (ends) count.close(width());
    if (dropout || drop_path) replace(count, width(), width());
  }

  // Queries, keys and values, the attention, its log-sum-exp, and the projection.
  void forward_attention(BlockCount& count) const {
    const double between = rounds ? width() / 2 : width();
    round(count, width());
    for (double numbers : {3 * between, between, rows * heads, width()}) count.open(numbers);
  }
  void backward_attention(BlockCount& count) const {
    if (!rounds) {
      replace(count, width(), width());             // projection
      replace(count, width(), 3 * width());         // attention
      return replace(count, 3 * width(), width());  // q, k, v
    }
    count.open(3 * width() / 2);                          // gradient of q, k, v
    for (int i = 0; i < 2; ++i) count.open(width() / 2);  // gradients of both sides of the projection
    for (int i = 0; i < 2; ++i) count.close(width() / 2);
    replace(count, 3 * width() / 2, width());
    count.close(width());
  }

  void forward_hidden(BlockCount& count, double hidden, double input) const {
    for (int i = 0; i < (gated ? 2 : 1); ++i) round(count, input);
    for (int i = 0; i < (gated ? 3 : 2); ++i) count.open(hidden);
    if (!gated) round(count, hidden);
    if (!gated) close_rounded(count, hidden);
    round(count, hidden);
  }
  void backward_hidden(BlockCount& count, double hidden, double input) const {
    count.open(hidden);
    if (gated) count.open(hidden);
    count.close(hidden);
    replace_linear(count, hidden, input);
    if (gated) count.close(hidden);
  }

  void forward_ffn(BlockCount& count) const {
    if (gated) {
      forward_hidden(count, rows * d_ff, width());
      count.open(width());
      close_rounded(count, rows * d_ff);
    } else {
      count.open(width());
      round(count, width());
      count.open(rounds ? rows * d_ff / 2 : rows * d_ff);
      count.open(hidden_block());
      count.close(hidden_block());
    }
    if (ffn.kind != FfnKind::fused || ffn.rule != RuleKind::memory_bank) return;
    count.open(d_model);
    for (int i = 0; i < 3; ++i) count.open(experts());
  }
  void backward_ffn(BlockCount& count) const {
    if (gated) {
      replace_linear(count, width(), rows * d_ff);
      return backward_hidden(count, rows * d_ff, width());
    }
    round(count, width());
    for (int i = 0; i < 2; ++i) count.open(hidden_block());
    replace(count, width(), width());
    for (int i = 0; i < 2; ++i) count.close(hidden_block());
    close_copy(count, width());
  }

  // An array of hidden numbers, or of their gradients, that `gelu_feed_forward` holds for one block of rows.
  double hidden_block() const {
    const double numbers = static_cast<double>(ops::feed_forward_block(static_cast<Index>(rows))) * d_ff;
    return rounds ? numbers / 2 : numbers;
  }

  double served() const { return rows * static_cast<double>(ffn.k); }

  void forward_sparse(BlockCount& count) const {
    const auto integers = kernels::TokenGroups::storage(static_cast<Index>(rows), ffn.k, ffn.experts);
    for (int i = 0; i < 2; ++i) count.open(rows * experts());  // logits and probabilities
    count.open(served());                                      // gates
    count.open(static_cast<double>(integers));
    count.open(experts());  // totals of the balance loss
    count.open(served() * d_model);
    forward_hidden(count, served() * d_ff, served() * d_model);
    count.open(served() * d_model);
    close_rounded(count, served() * d_ff);
    close_rounded(count, served() * d_model);
    count.open(width());
  }
  void backward_sparse(BlockCount& count) const {
    count.open(served());
    replace(count, width(), served() * d_model);
    replace_linear(count, served() * d_model, served() * d_ff);
    backward_hidden(count, served() * d_ff, served() * d_model);
    replace(count, served() * d_model, width());
    count.open(rows * experts());
    count.close(served());
    replace(count, rows * experts(), rows * experts());
    count.close(rows * experts());
  }
};

namespace detail {

inline void check_pass(const FfnPlan& ffn, Index batch, Index tokens) {
  constexpr std::string_view plan = "memory plan";
  exfusion::detail::check_positive(plan, "batch", batch);
  exfusion::detail::check_positive(plan, "tokens", tokens);
  exfusion::detail::check_size(plan, "a batch", {batch, tokens});
  exfusion::detail::check_positive(plan, "experts", ffn.experts);
  exfusion::detail::check_positive(plan, "k", ffn.k);
  constexpr Index most = Index{1} << 16;
  if (ffn.experts <= most && ffn.k <= ffn.experts) return;
  throw ConfigError(plan, "experts = ", ffn.experts, ", k = ", ffn.k, ": there can be at most ", most,
                    " experts, and k at most as many as they");
}

template <class Config>
BlockPlan block_plan(const Config& config, const FfnPlan& ffn, const PassPlan& pass, double rows) {
  return {.rows = rows,
          .d_model = static_cast<double>(config.d_model),
          .d_ff = static_cast<double>(config.hidden()),
          .heads = static_cast<double>(config.heads),
          .gated = config.activation == Activation::swiglu,
          .dropout = config.dropout > 0,
          .rounds = pass.precision == Precision::bf16,
          .ffn = ffn};
}

/// Bytes of the nested tape's arena: it serves one block after the other.
template <class DropPath>
double nested_bytes(const BlockPlan& block, Index layers, const DropPath& drop_path) {
  double most = 0;
  for (Index layer = 0; layer < layers; ++layer) {
    BlockCount count;
    block.forward(count, drop_path(layer));
    count.open(block.width());
    block.backward(count, drop_path(layer), true);
    most = std::max(most, count.bytes());
  }
  return most;
}

/// Positions and their dropout, all blocks, and the last normalisation, forward and backward. Afterwards one
/// gradient of the blocks' width is open.
template <class DropPath>
void count_trunk(BlockCount& count, const BlockPlan& block, Index layers, bool recompute,
                 const DropPath& drop_path) {
  for (int i = 0; i < (block.dropout ? 2 : 1); ++i) count.open(block.width());
  for (Index layer = 0; layer < layers; ++layer) {
    recompute ? count.open(block.width()) : block.forward(count, drop_path(layer));
  }
  block.normalise(count);
  for (int i = 0; i < 2; ++i) count.open(block.width());  // gradients of the normalisation's result and input
  count.close(block.width());
  if (recompute) return count.add_bytes(nested_bytes(block, layers, drop_path));
  for (Index layer = layers - 1; layer >= 0; --layer) block.backward(count, drop_path(layer), false);
}

}  // namespace detail

/// Bytes of the arena's blocks that one training pass of a Gpt in float takes (`Tape::peak_bytes`):
/// activations, what operations save for the backward pass, and the activations' gradients. The tape's own
/// records are left out, some hundred bytes for each operation. Throws ConfigError when the configuration
/// cannot work, a size is not positive, there are more than 65536 experts, or k is more than they.
inline double activation_bytes(const GptConfig& config, const FfnPlan& ffn, const PassPlan& pass) {
  checked(config);
  const Index tokens = pass.tokens == 0 ? config.context : pass.tokens;
  detail::check_pass(ffn, pass.batch, tokens);
  const double rows = static_cast<double>(pass.batch) * static_cast<double>(tokens);
  const BlockPlan block = detail::block_plan(config, ffn, pass, rows);
  BlockCount count;
  count.open(block.width());  // embedding
  const auto classes = static_cast<double>(config.vocab_size);
  const double logits =
      classes * std::clamp(std::floor(0x1p24 / classes), 1.0, rows);  // of one block of rows
  count.open(logits);
  block.round(count, logits);  // their gradient
  block.round(count, block.width());
  count.open(rows);  // log-sum-exp
  detail::count_trunk(count, block, config.layers, pass.recompute, [](Index) { return false; });
  return count.bytes();
}

/// The same for a Vit, with `cross_entropy` of its logits as the loss.
inline double activation_bytes(const VitConfig& config, const FfnPlan& ffn, const PassPlan& pass) {
  checked(config);
  detail::check_pass(ffn, pass.batch, config.tokens());
  const auto images = static_cast<double>(pass.batch);
  const BlockPlan block =
      detail::block_plan(config, ffn, pass, images * static_cast<double>(config.tokens()));
  const double patches = images * static_cast<double>(config.patches());
  const double pooled = images * block.d_model, logits = images * static_cast<double>(config.classes);
  BlockCount count;
  const double pixels =
      patches * static_cast<double>(config.channels * config.patch_size * config.patch_size);
  count.open(pixels);
  block.round(count, pixels);
  count.open(patches * block.d_model);
  if (config.pooling == Pooling::cls) {
    count.open(block.width());
    count.open(pooled);
  }
  for (double numbers : {pooled, logits, images}) count.open(numbers);  // pooled, logits, log-sum-exp
  block.round(count, pooled);
  for (double numbers : {logits, block.rounds ? logits / 2 : logits, pooled}) {
    count.open(numbers);
    count.close(numbers);
  }
  detail::count_trunk(count, block, config.layers, pass.recompute,
                      [&](Index layer) { return config.drop_path_of(layer) > 0; });
  if (config.pooling == Pooling::cls) count.open(patches * block.d_model);
  if (block.rounds) count.open(patches * block.d_model / 2);  // the patch embedding's gradient
  return count.bytes();
}

}  // namespace exfusion::train
