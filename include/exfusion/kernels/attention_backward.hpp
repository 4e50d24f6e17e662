#pragma once

#include <exfusion/kernels/attention_blocks.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels::detail {

/// What the gradient of one head of one sequence starts from.
template <class Factors>
struct AttentionSaved {
  using Source = typename Factors::Source;

  HeadTriple<const Source> head;
  HeadMatrix<const Source> y, dy;
  const typename Factors::T* log_sum_exp;  ///< [T]
};

/// Memory for what there is of each query while one head's keys are gone through.
template <Scalar T>
struct AttentionRoom {
  T* delta;     ///< [T]: the product of each row of y with that of dy.
  T* dqueries;  ///< The gradient so far, not scaled yet: whole tiles of rows, as far apart as packed ones.
};

/// The gradients of blocks of keys and values, and what they add to those of the queries (arXiv 2307.08691,
/// algorithm 2).
template <class Factors>
class AttentionBackward {
  using T = typename Factors::T;
  using Source = typename Factors::Source;
  using Packed = typename Factors::Packed;
  using Product = typename Factors::Product;
  using Blocks = AttentionBlocks<T>;
  using S = Simd<T>;
  using Vector = typename S::Vector;

 public:
  AttentionBackward(const AttentionSaved<Factors>& saved, const AttentionSizes& sizes, AttentionRoom<T> room,
                    const RowsAhead<Source, 8>& ahead)
      : saved_(saved), sizes_(sizes), blocks_(sizes.d_head), room_(room), ahead_(ahead) {}

  /// Writes the rows of dkeys and dvalues from `first_key` on, as many as a block has, or adds to them if
  /// `accumulate`. The `first` call on an object must be the one with the most queries: it writes the rows of
  /// dqueries that see one of its keys, other calls add to them.
  void run(Index first_key, bool first, HeadTriple<Source> gradient, bool accumulate) {
    [[maybe_unused]] const typename Product::Registers registers;
    const Index keys = std::min(blocks_.keys, sizes_.tokens - first_key);
    load_keys(first_key, keys);
    const Index first_query = sizes_.causal ? first_key / blocks_.queries * blocks_.queries : 0;
    for (Index query = first_query; query < sizes_.tokens; query += blocks_.queries) {
      const Index count = std::min(blocks_.queries, sizes_.tokens - query);
      load_queries(query, count, first);
      add_queries({sizes_.causal, query, count, first_key, keys}, query != first_query, !first);
    }
    store_keys(first_key, keys, gradient, accumulate);
  }

 private:
  void load_keys(Index first, Index count) {
    pack_depth<Factors>(saved_.head.keys, first, count, keys_, blocks_.width, blocks_.step);
    pack_transposed<Factors>(saved_.head.keys, first, count, keys_t_, blocks_.transposed_step);
    pack_transposed<Factors>(saved_.head.values, first, count, values_t_, blocks_.transposed_step);
  }

  void load_queries(Index first, Index count, bool with_delta) {
    const Index padded = Blocks::round_up(count, Product::tile_rows);
    const Index width = Factors::row_numbers(blocks_.width);
    pack_rows<Factors>(saved_.head.queries, first, count, queries_, padded, width, blocks_.step);
    pack_rows<Factors>(saved_.dy, first, count, dy_, padded, width, blocks_.step);
    if constexpr (is_paired) {
      pack_depth<Factors>(saved_.head.queries, first, count, paired_.queries, blocks_.width, blocks_.step);
      pack_depth<Factors>(saved_.dy, first, count, paired_.dy, blocks_.width, blocks_.step);
    }
    for (Index q = 0; q < count && with_delta; ++q) {
      prefetch_row(saved_.y, first + std::min(q + rows_ahead, count - 1));
      const Source *y = saved_.y.row(first + q), *dy = saved_.dy.row(first + q);
      room_.delta[first + q] =
          sum<T>(sizes_.d_head, [=](Index c) { return Factors::exact(y[c]) * Factors::exact(dy[c]); });
    }
  }

  void store_keys(Index first, Index count, HeadTriple<Source> gradient, bool accumulate) const {
    for (Index key = 0; key < count; ++key) {
      prefetch_row(gradient.keys, first + std::min(key + rows_ahead, count - 1));
      prefetch_row(gradient.values, first + std::min(key + rows_ahead, count - 1));
      unpack_row(dkeys_ + key * blocks_.step, scale_, gradient.keys, first + key, accumulate);
      unpack_row(dvalues_ + key * blocks_.step, T{1}, gradient.values, first + key, accumulate);
    }
  }

  void add_queries(const AttentionMask& mask, bool accumulate, bool accumulate_queries) {
    multiply_scores<Factors>(queries_, keys_t_, probabilities_, blocks_, mask, sizes_.d_head);
    multiply_scores<Factors>(dy_, values_t_, dscores_, blocks_, mask, sizes_.d_head);
    for (Index q = 0; q < mask.queries; ++q) {
      prefetch_next(mask.first_query + q + blocks_.queries);
      ahead_.ask(mask.first_query + q);
      differentiate(q * blocks_.score_step, mask.keys_of(q), mask.first_query + q);
    }
    if constexpr (is_paired) {
      round_scores(mask);
      multiply_scored(paired_.probabilities, paired_.dy, paired_.dscores, paired_.queries, mask, accumulate);
    } else {
      multiply_scored(probabilities_, dy_, dscores_, queries_, mask, accumulate);
    }
    multiply_by_keys<Factors>(dscore_rows(), keys_, room_.dqueries + mask.first_query * blocks_.step, blocks_,
                              mask, {accumulate_queries});
  }

  void multiply_scored(const Packed* probabilities, const Packed* dy, const Packed* dscores,
                       const Packed* queries, const AttentionMask& mask, bool accumulate) {
    multiply_by_queries<Factors>(probabilities, dy, dvalues_, blocks_, mask, accumulate);
    multiply_by_queries<Factors>(dscores, queries, dkeys_, blocks_, mask, accumulate);
  }

  const Packed* dscore_rows() const {
    if constexpr (is_paired) {
      return paired_.dscore_rows;
    } else {
      return dscores_;
    }
  }

  void round_scores(const AttentionMask& mask) {
    if constexpr (Product::in_tile_registers) {
      for (Index q = 0; q < mask.queries; q += 2 * Product::lanes) round_square(q, mask);
    } else {
      for (Index q = 0; q < mask.queries; q += 2) round_two_rows(q, mask);
    }
  }

  // The rows of two queries, or of the last one alone, whose double then meets zeros.
  void round_two_rows(Index q, const AttentionMask& mask) {
    const Index step = blocks_.score_step, next = std::min(q + 1, mask.queries - 1);
    const Index end = mask.keys_of(next) + Product::tile_rows;
    for (Index key = 0; key < end; key += Product::lanes) {
      Vector p, p_next, ds, ds_next;
      S::load(p, probabilities_ + q * step + key);
      S::load(p_next, probabilities_ + next * step + key);
      S::load(ds, dscores_ + q * step + key);
      S::load(ds_next, dscores_ + next * step + key);
      Factors::store_pairs(p, p_next, paired_.probabilities + q / 2 * step + key);
      Factors::store_pairs(ds, ds_next, paired_.dscores + q / 2 * step + key);
      Factors::store(ds, paired_.dscore_rows + q * step, key);
      Factors::store(ds_next, paired_.dscore_rows + next * step, key);
    }
  }

  // As many pairs of queries as a vector has lanes, transposed. Zeros take the place of queries beyond the
  // last.
  void round_square(Index first, const AttentionMask& mask) {
    const Index step = blocks_.score_step, count = std::min(mask.queries - first, 2 * Product::lanes);
    const Index seen = mask.keys_of(first + count - 1) + Product::tile_rows;
    const Index end = std::min(Blocks::round_up(seen, Factors::group * Product::depth_step), step);
    for (Index key = 0; key < end; key += Product::lanes) {
      const Index from = first * step + key, to = key * blocks_.pair_step + first / 2;
      transpose_pairs(probabilities_ + from, count, paired_.probabilities + to);
      transpose_pairs(dscores_ + from, count, paired_.dscores + to);
      for (Index q = 0; q < count; ++q) {
        Vector ds;
        S::load(ds, dscores_ + from + q * step);
        Factors::store(ds, paired_.dscore_rows + (first + q) * step, key);
      }
    }
  }

  void transpose_pairs(const T* from, Index count, Packed* to) const {
    using P = Simd<Packed>;
    typename P::Vector square[P::lanes] = {};
    for (Index q = 0; q < count; q += 2, from += 2 * blocks_.score_step) {
      Vector lower, upper = {};
      S::load(lower, from);
      if (q + 1 < count) S::load(upper, from + blocks_.score_step);
      square[q / 2] = Factors::pairs(lower, upper);
    }
    P::transpose(square);
    for (Index key = 0; key < P::lanes; ++key, to += blocks_.pair_step) P::store(square[key], to);
  }

  void prefetch_next(Index query) const {
    if (query >= sizes_.tokens) return;
    prefetch_row(saved_.head.queries, query);
    prefetch_row(saved_.dy, query);
  }

  // Scores of `keys` keys become probabilities p, their gradients dp become those of the scores: p (dp -
  // delta). Zeros follow behind them.
  void differentiate(Index row, Index keys, Index query) {
    T* p_row = probabilities_ + row;
    T* dp_row = dscores_ + row;
    const T log_sum_exp = saved_.log_sum_exp[query], delta = room_.delta[query];
    constexpr ExpBelowZero<T> exp{};
    for (Index key = 0; key < keys; key += Product::lanes) {
      Vector p, dp;
      S::load(p, p_row + key);
      S::load(dp, dp_row + key);
      p = scale_ * p - log_sum_exp;
      p = p > T{0} ? Vector{} : p;  // above by rounding errors of huge scores
      exp(p);
      S::store(p, p_row + key);
      S::store(p * (dp - delta), dp_row + key);
    }
    const Index zeros = std::min(Product::zeros, blocks_.score_step - keys);
    std::fill_n(p_row + keys, zeros, T{0});
    std::fill_n(dp_row + keys, zeros, T{0});
  }

  static constexpr bool is_paired = Factors::group > 1;

  /// What exists apart from the numbers that it is made of if these are paired.
  struct Paired {
    alignas(storage_alignment) Packed queries[Blocks::paired_query_numbers];
    alignas(storage_alignment) Packed dy[Blocks::paired_query_numbers];
    alignas(storage_alignment) Packed probabilities[Blocks::paired_score_numbers];
    alignas(storage_alignment) Packed dscores[Blocks::paired_score_numbers];
    alignas(storage_alignment) Packed dscore_rows[Blocks::score_numbers];
  };
  struct Nothing {};

  const AttentionSaved<Factors>& saved_;
  const AttentionSizes& sizes_;
  T scale_ = attention_scale<T>(sizes_);
  Blocks blocks_;
  AttentionRoom<T> room_;
  const RowsAhead<Source, 8>& ahead_;
  alignas(storage_alignment) Packed keys_[Blocks::key_numbers];
  alignas(storage_alignment) Packed keys_t_[Blocks::transposed_numbers];
  alignas(storage_alignment) Packed values_t_[Blocks::transposed_numbers];
  alignas(storage_alignment) T dkeys_[Blocks::key_numbers];
  alignas(storage_alignment) T dvalues_[Blocks::key_numbers];
  alignas(storage_alignment) Packed queries_[Blocks::query_numbers];
  alignas(storage_alignment) Packed dy_[Blocks::query_numbers];
  alignas(storage_alignment) T probabilities_[Blocks::score_numbers];
  alignas(storage_alignment) T dscores_[Blocks::score_numbers];
  [[no_unique_address]] std::conditional_t<is_paired, Paired, Nothing> paired_;
};

}  // namespace exfusion::kernels::detail
