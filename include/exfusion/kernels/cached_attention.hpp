#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// Sizes of one sequence's keys and values, kept from token to token.
struct AttentionCacheSizes {
  Index heads = 0;
  Index d_head = 0;
  Index capacity = 0;  ///< Tokens that there is room for.

  Index d_model() const { return heads * d_head; }
};

/// Causal softmax attention of new tokens over all tokens so far, for generation. Keys are kept as [H,
/// d_head, capacity]: the scores of neighbouring tokens then come from neighbouring numbers. Values are kept
/// as [H, capacity, d_head].
template <Scalar T>
struct CachedAttention {
  /// Puts the keys and values of `tokens` new tokens at position `begin` and after; qkv [tokens, 3 D], as
  /// `Attention` takes it.
  static void append(const T* qkv, Index begin, Index tokens, const AttentionCacheSizes& sizes, T* keys,
                     T* values);

  /// y [tokens, D]: for each new token the attention to itself and all before it, whose keys and values are
  /// there. Parallel over tokens and heads.
  static void forward(const T* qkv, Index begin, Index tokens, const AttentionCacheSizes& sizes,
                      const T* keys, const T* values, T* y);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/cached_attention-inl.hpp>
#endif
