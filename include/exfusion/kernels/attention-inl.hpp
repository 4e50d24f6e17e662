#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/attention_backward.hpp>
#include <exfusion/kernels/attention_forward.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels {

namespace detail {

/// Pieces of work that keep many threads busy. Heads are cut up where they are fewer.
inline constexpr Index enough_attention_pieces = 32;

/// How the gradient of each head is cut up: its blocks of keys are dealt out to parts in turn. The first part
/// writes the gradient of the queries in place, the others to scratch memory, from where they are added.
template <Scalar T>
struct AttentionParts {
  AttentionSizes sizes;
  Index keys = AttentionBlocks<T>(sizes.d_head).keys;  ///< Keys of a block.
  Index heads = sizes.batch * sizes.heads;
  Index count = std::clamp<Index>((enough_attention_pieces + heads - 1) / std::max<Index>(heads, 1), 1,
                                  std::max<Index>((sizes.tokens + keys - 1) / keys, 1));

  Index scratch_size() const { return heads * sizes.tokens * (count + (count - 1) * sizes.d_head); }
  T* delta(T* scratch, Index row, Index part) const { return scratch + (row * count + part) * sizes.tokens; }
  HeadMatrix<T> dqueries(T* scratch, Index row, Index part) const {
    const Index matrix = row * (count - 1) + part - 1;
    return {scratch + heads * count * sizes.tokens + matrix * sizes.tokens * sizes.d_head, sizes.d_head,
            sizes.d_head};
  }

  /// Adds up the parts of the gradient of queries [begin, end) of one head.
  void combine(T* scratch, Index row, HeadMatrix<T> to, Index begin, Index end) const {
    for (Index part = 1; part < count; ++part) {
      const HeadMatrix<T> from = dqueries(scratch, row, part);
      for (Index q = std::max(begin, sizes.causal ? part * keys : 0); q < end; ++q) {
        unpack_row(from.row(q), T{1}, to, q, true);
      }
    }
  }
};

}  // namespace detail

template <Scalar T>
void Attention<T>::forward(const T* qkv, T* y, T* log_sum_exp, const AttentionSizes& sizes) {
  detail::with_attention_factors<T>(sizes.rounds, [&]<class Factors>(Factors) {
    using Forward = detail::AttentionForward<Factors>;
    const detail::AttentionBlocks<T> blocks(sizes.d_head);
    const Index most = Forward::most_queries(blocks), rows = sizes.batch * sizes.heads;
    const bool few = rows * ((sizes.tokens + most - 1) / most) < detail::enough_attention_pieces;
    const Index chunk = few ? blocks.queries : most, chunks = (sizes.tokens + chunk - 1) / chunk;
    parallel_for(rows * chunks, 1, [&](Index item, Index) {
      const Index row = item / chunks, batch = row / sizes.heads, head = row % sizes.heads;
      const Index first = (chunks - 1 - item % chunks) * chunk;  // the longest causal ones first
      T* log_sum_exp_row = log_sum_exp == nullptr ? nullptr : log_sum_exp + row * sizes.tokens;
      Forward({qkv, sizes, batch, head}, sizes, first, std::min(chunk, sizes.tokens - first))
          .run(detail::head_matrix(y, sizes, batch, head), log_sum_exp_row);
    });
  });
}

template <Scalar T>
void Attention<T>::backward(const T* qkv, const T* y, const T* log_sum_exp, const T* dy,
                            GradientTarget<T> dqkv, const AttentionSizes& sizes) {
  if (sizes.tokens == 0) return;
  const detail::AttentionParts<T> parts{sizes};
  T* room = scratch<T>(parts.scratch_size());
  detail::with_attention_factors<T>(sizes.rounds, [&]<class Factors>(Factors) {
    parallel_for(parts.heads * parts.count, 1, [&](Index item, Index) {
      const Index row = item / parts.count, part = item % parts.count;
      const Index batch = row / sizes.heads, head = row % sizes.heads;
      const detail::AttentionSaved<T> saved{{qkv, sizes, batch, head},
                                            detail::head_matrix(y, sizes, batch, head),
                                            detail::head_matrix(dy, sizes, batch, head),
                                            log_sum_exp + row * sizes.tokens};
      detail::HeadTriple<T> gradient{dqkv.data, sizes, batch, head};
      detail::AttentionBackward<Factors> backward(saved, sizes, parts.delta(room, row, part));
      for (Index key = part * parts.keys; key < sizes.tokens; key += parts.count * parts.keys) {
        const bool first = key == part * parts.keys;
        backward.run(key, first, gradient, dqkv.accumulate,
                     part == 0 ? gradient.queries : parts.dqueries(room, row, part),
                     !first || (part == 0 && dqkv.accumulate));
      }
    });
  });
  if (parts.count == 1) return;
  constexpr Index some = 64;
  const Index pieces = (sizes.tokens + some - 1) / some;
  parallel_for(parts.heads * pieces, 1, [&](Index item, Index) {
    const Index row = item / pieces, begin = item % pieces * some;
    detail::HeadTriple<T> gradient{dqkv.data, sizes, row / sizes.heads, row % sizes.heads};
    parts.combine(room, row, gradient.queries, begin, std::min(sizes.tokens, begin + some));
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Attention);
