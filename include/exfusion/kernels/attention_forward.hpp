#pragma once

#include <cmath>
#include <limits>
#include <numeric>

#include <exfusion/kernels/attention_blocks.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels::detail {

/// The output of some queries of one head of one sequence (arXiv 2307.08691, algorithm 1, with the blocks of
/// keys outside: each is packed once for all these queries).
template <class Factors>
class AttentionForward {
  using T = typename Factors::T;
  using Source = typename Factors::Source;
  using Packed = typename Factors::Packed;
  using Product = typename Factors::Product;
  using Blocks = AttentionBlocks<T>;
  using S = Simd<T>;
  using Vector = typename S::Vector;
  static constexpr Index most_blocks = 3;  // of queries, all of which meet a block of keys before the next
  // Queries whose scores are there at a time: few, so that these stay in the first-level cache.
  static constexpr Index at_a_time = Blocks::round_up(24, std::lcm(Product::tile_rows, Index{S::lanes}));

 public:
  /// How many queries one object takes at most.
  static Index most_queries(const Blocks& blocks) { return most_blocks * blocks.queries; }

  AttentionForward(HeadTriple<const Source> head, const AttentionSizes& sizes, Index first_query,
                   Index queries, const RowsAhead<Source, 3>& ahead)
      : head_(head),
        sizes_(sizes),
        blocks_(sizes.d_head),
        first_query_(first_query),
        queries_(queries),
        ahead_(ahead) {}

  /// Writes the queries' rows of y [T, d_head] and log_sum_exp [T] (may be null).
  void run(HeadMatrix<Source> y, T* log_sum_exp) {
    [[maybe_unused]] const typename Product::Registers registers;
    pack_rows<Factors>(head_.queries, first_query_, queries_, packed_queries_,
                       Blocks::round_up(queries_, Product::tile_rows), Factors::row_numbers(blocks_.width),
                       blocks_.step);
    std::fill_n(maximum_, Blocks::round_up(queries_, S::lanes), minus_infinity);
    std::fill_n(sums_, queries_ * S::lanes, T{0});
    const Index last_key = sizes_.causal ? first_query_ + queries_ : sizes_.tokens;
    for (Index key = 0; key < last_key; key += blocks_.keys) {
      add_keys(key, std::min(blocks_.keys, last_key - key), y);
    }
    for (Index q = 0; q < queries_; ++q) {
      const T sum = std::accumulate(sums_ + q * S::lanes, sums_ + (q + 1) * S::lanes, T{0});
      unpack_row(out_ + q * blocks_.step, 1 / sum, y, first_query_ + q, false);
      if (log_sum_exp != nullptr) log_sum_exp[first_query_ + q] = scale_ * maximum_[q] + std::log(sum);
    }
  }

 private:
  void add_keys(Index first_key, Index keys, HeadMatrix<Source> y) {
    pack_transposed<Factors>(head_.keys, first_key, keys, keys_t_, blocks_.transposed_step);
    pack_depth<Factors>(head_.values, first_key, keys, values_, blocks_.width, blocks_.step);
    for (Index query = 0; query < queries_; query += at_a_time) {
      const Index count = std::min(at_a_time, queries_ - query);
      const AttentionMask mask{sizes_.causal, first_query_ + query, count, first_key, keys};
      if (mask.keys_of(count - 1) == 0) continue;
      multiply_scores<Factors>(packed_queries_ + query * blocks_.step, keys_t_, scores_, blocks_, mask,
                               sizes_.d_head);
      for (Index q = 0; q < count; q += S::lanes) raise_maxima(mask, q, query + q);
      for (Index q = 0; q < count; ++q) {
        prefetch_row(y, first_query_ + query + q);
        ahead_.ask(first_query_ + query + q);
        exponentiate(mask, q, query + q);
      }
      multiply_by_keys<Factors>(exponentials(), values_, out_ + query * blocks_.step, blocks_, mask,
                                {first_key != 0, keep_ + query});
    }
  }

  static constexpr T minus_infinity = -std::numeric_limits<T>::infinity();

  // Online softmax, first half: the largest score so far of a vector of queries, and what their results so
  // far must be multiplied by. Hidden scores become minus infinity.
  void raise_maxima(const AttentionMask& mask, Index first, Index query) {
    const Index keys = Blocks::round_up(mask.keys_of(first + S::lanes - 1), S::lanes);
    T* rows[S::lanes];
    for (Index i = 0; i < S::lanes; ++i) {
      const Index q = std::min(first + i, mask.queries - 1);
      rows[i] = scores_ + q * blocks_.score_step;
      for (Index key = mask.keys_of(q); key < keys; ++key) rows[i][key] = minus_infinity;
    }
    Vector most[S::lanes], before, score;
    S::load(before, maximum_ + query);
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) most[i] = minus_infinity - Vector{};
    for (Index key = 0; key < keys; key += S::lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < S::lanes; ++i) {
        S::load(score, rows[i] + key);
        most[i] = score > most[i] ? score : most[i];
      }
    }
    S::transpose(most);
    Vector raised = before;
#pragma GCC unroll 16
    for (int i = 0; i < S::lanes; ++i) raised = most[i] > raised ? most[i] : raised;
    S::store(raised, maximum_ + query);
    before -= raised;
    exp_(before);
    S::store(before, keep_ + query);
  }

  // Second half: the scores of one query become exponentials relative to the largest so far, and zeros where
  // the products read hidden ones.
  void exponentiate(const AttentionMask& mask, Index q, Index query) {
    const Index keys = mask.keys_of(q);
    const T maximum = maximum_[query];
    const ExpBelowZero<T> exp = exp_;  // a copy stays in registers while rows are written
    const T* scores = scores_ + q * blocks_.score_step;
    Packed* row = exponentials() + q * blocks_.score_step;
    Vector sum, score;
    S::load(sum, sums_ + query * S::lanes);
    sum *= keep_[query];
    for (Index key = 0; key < keys; key += S::lanes) {
      S::load(score, scores + key);
      score -= maximum;
      exp(score);
      Factors::store(score, row, key);
      sum += score;
    }
    S::store(sum, sums_ + query * S::lanes);
    if (keys < mask.keys || Product::depth_step > 1) Factors::clear(row, keys, Product::zeros);
  }

  // They take the place of the scores unless they are packed otherwise.
  Packed* exponentials() {
    if constexpr (Factors::group == 1) {
      return scores_;
    } else {
      return exponentials_;
    }
  }

  HeadTriple<const Source> head_;
  const AttentionSizes& sizes_;
  T scale_ = attention_scale<T>(sizes_);
  ExpBelowZero<T> exp_{scale_};  ///< Of scores before they are scaled.
  Blocks blocks_;
  Index first_query_, queries_;
  const RowsAhead<Source, 3>& ahead_;
  alignas(storage_alignment) Packed packed_queries_[most_blocks * Blocks::query_numbers];
  alignas(storage_alignment) T out_[most_blocks * Blocks::query_numbers];
  alignas(storage_alignment) Packed keys_t_[Blocks::transposed_numbers];
  alignas(storage_alignment) Packed values_[Blocks::key_numbers];
  alignas(storage_alignment) T scores_[at_a_time * Blocks::longest_score_step];
  alignas(storage_alignment) Packed
      exponentials_[Factors::group == 1 ? 1 : at_a_time * Blocks::longest_score_step];
  alignas(storage_alignment) T maximum_[most_blocks * Blocks::most_queries];
  alignas(storage_alignment) T keep_[most_blocks * Blocks::most_queries];
  alignas(storage_alignment) T sums_[most_blocks * Blocks::most_queries * S::lanes];
};

}  // namespace exfusion::kernels::detail
