#pragma once

#include <algorithm>

#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/attention_backward.hpp>
#include <exfusion/kernels/attention_forward.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/scratch.hpp>

// All heads of all sequences on all threads.

namespace exfusion::kernels::detail {

/// Pieces of work that keep many threads busy. Heads are cut up where they are fewer.
inline constexpr Index enough_attention_pieces = 32;

/// The head whose turn is likely to come next on the thread that has begun `row`, or the last one.
inline Index next_head(Index row, Index rows) { return std::min(row + omp_get_num_threads(), rows - 1); }

/// y and log_sum_exp (may be null) of all heads.
template <class Factors>
void attention_forward(const typename Factors::Source* qkv, typename Factors::Source* y,
                       typename Factors::T* log_sum_exp, const AttentionSizes& sizes) {
  using Forward = AttentionForward<Factors>;
  using Source = typename Factors::Source;
  const AttentionBlocks<typename Factors::T> blocks(sizes.d_head);
  const Index most = Forward::most_queries(blocks), rows = sizes.batch * sizes.heads;
  const bool few = rows * ceil_divide(sizes.tokens, most) < enough_attention_pieces;
  const Index chunk = few ? blocks.queries : most, chunks = ceil_divide(sizes.tokens, chunk);
  parallel_for(rows * chunks, 1, [&](Index item, Index) {
    const Index row = item / chunks, batch = row / sizes.heads, head = row % sizes.heads;
    const Index first = (chunks - 1 - item % chunks) * chunk;  // the longest causal ones first
    const Index next = next_head(row, rows);
    const HeadTriple<const Source> then(qkv, sizes, next / sizes.heads, next % sizes.heads);
    RowsAhead<Source, 3> ahead;
    if (sizes.tokens <= blocks.keys) ahead = {sizes.tokens, {then.queries, then.keys, then.values}};
    Forward({qkv, sizes, batch, head}, sizes, first, std::min(chunk, sizes.tokens - first), ahead)
        .run(head_matrix(y, sizes, batch, head),
             log_sum_exp == nullptr ? nullptr : log_sum_exp + row * sizes.tokens);
  });
}

/// What the gradients of all heads are computed from and written to.
template <class Factors>
struct AttentionGradients {
  using T = typename Factors::T;
  using Source = typename Factors::Source;

  const Source *qkv, *y;
  const T* log_sum_exp;
  const Source* dy;
  Source* dqkv;
  bool accumulate;  ///< Never in bf16.
  const AttentionSizes& sizes;

  /// A head of a sequence.
  AttentionSaved<Factors> saved(Index row) const {
    const Index batch = row / sizes.heads, head = row % sizes.heads;
    return {{qkv, sizes, batch, head},
            head_matrix(y, sizes, batch, head),
            head_matrix(dy, sizes, batch, head),
            log_sum_exp + row * sizes.tokens};
  }
  HeadTriple<Source> gradient(Index row) const { return {dqkv, sizes, row / sizes.heads, row % sizes.heads}; }
};

/// How the work on the gradient of each head is cut up: its blocks of keys are dealt out to parts in turn,
/// each of which has a gradient of the queries.
template <class Factors>
class AttentionParts {
  using T = typename Factors::T;
  using Blocks = AttentionBlocks<T>;

 public:
  explicit AttentionParts(AttentionGradients<Factors> all)
      : all_(all),
        blocks_(all.sizes.d_head),
        tokens_(all.sizes.tokens),
        heads_(all.sizes.batch * all.sizes.heads),
        count_(std::clamp<Index>(ceil_divide(enough_attention_pieces, std::max<Index>(heads_, 1)), 1,
                                 std::max<Index>(ceil_divide(tokens_, blocks_.keys), 1))) {}

  void run() const {
    if (tokens_ == 0) return;
    // The only part of a head sums up in its thread's memory; several keep their sums until these are added.
    const Index threads = omp_get_max_threads(), own_size = delta_size() + (count_ == 1 ? matrix_size() : 0);
    T* memory = scratch<T>(threads * own_size + (count_ == 1 ? 0 : heads_ * count_ * matrix_size()));
    T* shared = memory + threads * own_size;
    parallel_for(heads_ * count_, 1, [&](Index item, Index) {
      T* own = memory + omp_get_thread_num() * own_size;
      T* dqueries = count_ == 1 ? own + delta_size() : shared + item * matrix_size();
      run_part(item / count_, item % count_, {own, dqueries});
      if (count_ == 1) write_queries(item, dqueries, 0, tokens_);
    });
    if (count_ == 1) return;
    constexpr Index some = 64;
    const Index pieces = ceil_divide(tokens_, some);
    parallel_for(heads_ * pieces, 1, [&](Index item, Index) {
      const Index row = item / pieces, begin = item % pieces * some, end = std::min(tokens_, begin + some);
      T* first = shared + row * count_ * matrix_size();
      for (Index part = 1; part < count_; ++part)
        add_part(first + part * matrix_size(), first, all_.sizes.causal ? part * blocks_.keys : 0, begin,
                 end);
      write_queries(row, first, begin, end);
    });
  }

 private:
  Index delta_size() const { return Blocks::round_up(tokens_, Blocks::line); }
  Index matrix_size() const { return Blocks::round_up(tokens_, Factors::Product::tile_rows) * blocks_.step; }

  void run_part(Index row, Index part, AttentionRoom<T> room) const {
    const AttentionSaved<Factors> saved = all_.saved(row);
    const AttentionSaved<Factors> next = all_.saved(next_head(row, heads_));
    const auto& then = next.head;
    const auto to = all_.gradient(row);
    RowsAhead<typename Factors::Source, 8> ahead;
    if (tokens_ <= blocks_.keys) {
      ahead = {tokens_,
               {then.queries, then.keys, then.values, next.y, next.dy, to.queries, to.keys, to.values}};
    }
    AttentionBackward<Factors> backward(saved, all_.sizes, room, ahead);
    for (Index key = part * blocks_.keys; key < tokens_; key += count_ * blocks_.keys)
      backward.run(key, key == part * blocks_.keys, to, all_.accumulate);
  }

  // Rows of `to` += rows of `from`, those of queries from `begin` to `end` that are not before `first`.
  void add_part(const T* from, T* to, Index first, Index begin, Index end) const {
    for (Index q = std::max(begin, first); q < end; ++q) {
      const T* row = from + q * blocks_.step;
      write<T>({to + q * blocks_.step, true}, 0, all_.sizes.d_head, [=](Index c) { return row[c]; });
    }
  }

  void write_queries(Index row, const T* dqueries, Index begin, Index end) const {
    const auto gradient = all_.gradient(row).queries;
    const T scale = attention_scale<T>(all_.sizes);
    for (Index q = begin; q < end; ++q) {
      prefetch_row(gradient, std::min(q + rows_ahead, end - 1));
      unpack_row(dqueries + q * blocks_.step, scale, gradient, q, all_.accumulate);
    }
  }

  AttentionGradients<Factors> all_;
  Blocks blocks_;
  Index tokens_, heads_;
  Index count_;  ///< Parts of a head.
};

}  // namespace exfusion::kernels::detail
