#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <exfusion/kernels/cached_attention.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/ops/check_ids.hpp>

namespace exfusion {

/// Continues one sequence token by token. The keys and values of the tokens so far are kept, so that a new
/// one costs a pass over the weights and its attention to those before it, wherever in the sequence it
/// stands.
///
/// Positions are learned up to the model's context. Where a sequence outgrows it, the window moves: its newer
/// half is computed anew from position 0, once in context / 2 tokens; the model never sees fewer tokens than
/// that half. The model must outlive the decoder and not change.
template <Scalar T, Ffn<T> F>
class GptDecoder {
 public:
  /// Throws ConfigError as `checked` does.
  explicit GptDecoder(const Gpt<T, F>& model)
      : model_(model),
        sizes_{.heads = checked(model.config).heads,
               .d_head = model.config.d_model / model.config.heads,
               .capacity = model.config.context},
        cache_(2 * layer_size() * model.config.layers) {}
  explicit GptDecoder(const Gpt<T, F>&&) = delete;

  /// Appends tokens, at least one; returns the logits [V] of the token after them, in memory that the next
  /// call may use again. Throws ShapeError when there are none, Error when an id is not in the vocabulary;
  /// the sequence then stays as it was.
  std::span<const T> operator()(std::span<const std::int32_t> tokens) {
    if (tokens.empty()) throw ShapeError("gpt_decoder", "no token is given: at least one is needed");
    detail::check_ids("gpt_decoder", "tokens", IntTensor(Shape{std::ssize(tokens)}, tokens),
                      model_.config.vocab_size);
    std::vector<std::int32_t> window = window_;
    window.insert(window.end(), tokens.begin(), tokens.end());
    const Index context = model_.config.context;
    Index begin = length_;
    if (std::ssize(window) > context) {
      const Index kept = std::max({Index{1}, context / 2, std::min(context, std::ssize(tokens))});
      window.erase(window.begin(), window.end() - kept);
      begin = 0;
      reset();  // what is kept of it is about to be written over
    }
    logits_ = forward(std::span(window).subspan(static_cast<std::size_t>(begin)));
    window_ = std::move(window);
    length_ = std::ssize(window_);
    return logits_.values();
  }

  /// Tokens that the next one will see.
  Index length() const { return length_; }
  /// Forgets the sequence.
  void reset() {
    window_.clear();
    length_ = 0;
  }

 private:
  Index layer_size() const { return sizes_.d_model() * sizes_.capacity; }

  /// The logits [V] after `tokens`, which stand at position `length_` and after.
  Tensor<T> forward(std::span<const std::int32_t> tokens) {
    const Context<T> ctx;
    const Index count = std::ssize(tokens), d_model = sizes_.d_model();
    const Tensor<T> positions(model_.wpe.data() + length_ * d_model, {count, d_model});
    Tensor<T> x =
        ops::add_position(ctx, ops::embedding(ctx, IntTensor({1, count}, tokens), model_.wte), positions);
    for (std::size_t layer = 0; layer < model_.blocks.size(); ++layer) {
      const auto& block = model_.blocks[layer];
      x = ops::add(ctx, x, attention(block.attention, block.norm1(ctx, x), static_cast<Index>(layer)));
      x = ops::add(ctx, x, Tensor<T>(block.ffn(ctx, block.norm2(ctx, x))));
    }
    const Tensor<T> last = ops::select_token(ctx, x, count - 1);
    return ops::linear(ctx, model_.norm(ctx, last), model_.wte);
  }

  /// x [1, tokens, D] to [1, tokens, D], over all tokens so far.
  Tensor<T> attention(const MultiHeadAttention<T>& attention, const Tensor<T>& x, Index layer) {
    const Context<T> ctx;
    T* keys = cache_.data() + 2 * layer * layer_size();
    T* values = keys + layer_size();
    const Tensor<T> qkv = attention.qkv(ctx, x);
    const Tensor<T> attended = Tensor<T>::empty(x.shape());
    const Index count = x.shape()[1];
    kernels::CachedAttention<T>::append(qkv.data(), length_, count, sizes_, keys, values);
    kernels::CachedAttention<T>::forward(qkv.data(), length_, count, sizes_, keys, values, attended.data());
    return attention.projection(ctx, attended);
  }

  const Gpt<T, F>& model_;
  kernels::AttentionCacheSizes sizes_;
  Buffer<T> cache_;  ///< Of each layer keys, then values.
  std::vector<std::int32_t> window_;
  Index length_ = 0;  ///< Tokens of the window that are in the cache.
  Tensor<T> logits_;
};

}  // namespace exfusion
