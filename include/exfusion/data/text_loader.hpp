#pragma once

#include <algorithm>
#include <cstdint>

#include <exfusion/core/error.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/data/shuffle.hpp>
#include <exfusion/data/token_view.hpp>

namespace exfusion::data {

/// One batch of windows: targets[b, t] is the token that follows tokens[b, t].
struct TextBatch {
  IntTensor tokens;   ///< [B, T]
  IntTensor targets;  ///< [B, T]
};

namespace detail {

/// How many windows of `context` tokens (and one more for the last target) follow one another in `tokens`.
/// Throws ConfigError when the sizes are not positive or not even one window fits.
inline Index count_windows(TokenView tokens, Index batch, Index context) {
  if (batch < 1) throw ConfigError("text_loader", "the batch is ", batch, ": it must be at least 1");
  if (context < 1) throw ConfigError("text_loader", "the context is ", context, ": it must be at least 1");
  if (tokens.size() <= context) {
    throw ConfigError("text_loader", tokens.size(), " tokens are too few: a context of ", context,
                      " needs at least ", context + 1);
  }
  return (tokens.size() - 1) / context;
}

inline void copy_window(TokenView source, Index first, Index row, const TextBatch& batch) {
  const Index context = batch.tokens.shape()[1];
  source.copy(first, context, batch.tokens.data() + row * context);
  source.copy(first + 1, context, batch.targets.data() + row * context);
}

}  // namespace detail

struct TextLoaderOptions {
  Index batch = 32;     ///< B: windows in a batch.
  Index context = 128;  ///< T: tokens in a window.
  std::uint64_t seed = 0;
};

/// An endless stream of shuffled training batches. The text is cut into windows of T tokens, beginning at an
/// offset that each epoch draws anew; an epoch visits every window once. Everything depends on the seed and
/// the position alone, so that a run continues exactly from a saved `state`. A batch that reaches the end of
/// an epoch goes on with the next one. The tokens are not copied: they must outlive the loader.
class TextLoader {
 public:
  /// Throws ConfigError when a size is not positive or `tokens` has fewer than T + 1.
  TextLoader(TokenView tokens, const TextLoaderOptions& options)
      : tokens_(tokens),
        context_(options.context),
        order_(windows(tokens, options), options.seed),
        batch_{IntTensor({options.batch, context_}), IntTensor({options.batch, context_})} {}

  /// The next batch, [B, T] each; valid until the next call, which reuses its memory.
  const TextBatch& next() {
    for (Index row = 0; row < batch_.tokens.shape()[0]; ++row) {
      const Index window = order_.next();
      detail::copy_window(tokens_, phase() + window * context_, row, batch_);
    }
    return batch_;
  }

  /// Windows of one epoch; the same for every epoch.
  Index windows() const { return order_.items(); }
  /// Epochs passed, in parts: 1.5 in the middle of the second.
  double epochs() const { return order_.epochs(); }

  const LoaderState& state() const { return order_.state(); }
  /// Continues where `state` was taken. Throws ConfigError when it belongs to other data or another context.
  void set_state(const LoaderState& state) { order_.set_state(state); }

 private:
  // Room for the random offset costs one window, except where there is only one.
  static Index windows(TokenView tokens, const TextLoaderOptions& options) {
    const Index most = detail::count_windows(tokens, options.batch, options.context);
    return std::max<Index>(1, most - 1);
  }

  // Where the present epoch's first window begins.
  Index phase() const {
    const Index slack = tokens_.size() - 1 - order_.items() * context_;
    return keyed_rng(order_.seed(), RandomPurpose::phase, order_.epoch()).below(slack + 1);
  }

  TokenView tokens_;
  Index context_;
  ShuffledOrder order_;
  TextBatch batch_;
};

/// The windows of a text in order, without shuffling: for validation. The last batch may be smaller. The
/// tokens are not copied: they must outlive this.
class TextBatches {
 public:
  /// Throws ConfigError when a size is not positive or `tokens` has fewer than T + 1.
  TextBatches(TokenView tokens, Index batch, Index context)
      : tokens_(tokens),
        windows_(detail::count_windows(tokens, batch, context)),
        full_{IntTensor({batch, context}), IntTensor({batch, context})},
        rest_{IntTensor({windows_ % batch, context}), IntTensor({windows_ % batch, context})} {}

  Index windows() const { return windows_; }
  /// Batches of one pass.
  Index size() const { return (windows_ + batch() - 1) / batch(); }

  /// Batch `i` of the pass, [B, T] or smaller for the last; valid until the next call. Throws ConfigError
  /// when there is no such batch.
  const TextBatch& operator[](Index i) const {
    if (i < 0 || i >= size()) throw ConfigError("text_batches", "batch ", i, " does not exist in ", size());
    const TextBatch& result = (i + 1) * batch() <= windows_ ? full_ : rest_;
    const Index context = full_.tokens.shape()[1];
    for (Index row = 0; row < result.tokens.shape()[0]; ++row) {
      detail::copy_window(tokens_, (i * batch() + row) * context, row, result);
    }
    return result;
  }

 private:
  Index batch() const { return full_.tokens.shape()[0]; }

  TokenView tokens_;
  Index windows_;
  TextBatch full_;
  TextBatch rest_;
};

}  // namespace exfusion::data
