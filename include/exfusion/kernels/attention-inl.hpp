#pragma once

#include <array>
#include <cmath>
#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/attention_blocks.hpp>
#include <exfusion/kernels/fast_math.hpp>

namespace exfusion::kernels {

namespace detail {

/// A qkv-shaped tensor (values or gradient) seen from one head of one sequence.
template <class T>
struct HeadTriple {
  HeadMatrix<T> queries, keys, values;

  HeadTriple(T* qkv, const AttentionSizes& sizes, Index batch, Index head) {
    const Index d_model = sizes.d_model();
    T* first = qkv + batch * sizes.tokens * 3 * d_model + head * sizes.d_head;
    queries = {first, 3 * d_model, sizes.d_head};
    keys = {first + d_model, 3 * d_model, sizes.d_head};
    values = {first + 2 * d_model, 3 * d_model, sizes.d_head};
  }
};

/// A [B, T, D] tensor seen from one head of one sequence.
template <class T>
HeadMatrix<T> head_matrix(T* x, const AttentionSizes& sizes, Index batch, Index head) {
  return {x + batch * sizes.tokens * sizes.d_model() + head * sizes.d_head, sizes.d_model(), sizes.d_head};
}

template <Scalar T>
T attention_scale(const AttentionSizes& sizes) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(sizes.d_head)));
}

/// scores [keys, queries] = keys [keys, width] * queries_t [width, queries], as far as the mask reaches.
template <Scalar T>
void multiply_scores(const T* keys, const T* queries_t, T* scores, const AttentionBlocks<T>& blocks,
                     const AttentionMask& mask, Index depth) {
  using Product = AttentionProduct<T>;
  for (Index column = 0; column < mask.queries; column += Product::panel) {
    const Product product{keys,          blocks.width, 1, queries_t + column, blocks.queries, scores + column,
                          blocks.queries};
    product.run(mask.keys_of(column + Product::panel - 1), Product::panel, false, [=](Index) {
      return typename Product::Range{0, depth};
    });
  }
}

/// Sets the hidden scores of the panel of queries from `column` on to `value`, as far down as the products
/// read: they take whole tiles of rows. Returns the number of keys down to there.
template <Scalar T>
Index hide_scores(T* scores, const AttentionBlocks<T>& blocks, const AttentionMask& mask, Index column,
                  T value) {
  using Product = AttentionProduct<T>;
  const Index seen = mask.keys_of(column + Product::panel - 1);
  const Index rows = std::max(AttentionBlocks<T>::round_up(seen, Product::tile_rows),
                              mask.keys_of(column + Product::panel + Product::tile_rows - 2));
  for (Index key = mask.keys_of(column); key < rows; ++key) {
    T* row = scores + key * blocks.queries;
    std::fill(row + column, row + (key < seen ? mask.first_query_of(key) : column + Product::panel), value);
  }
  return rows;
}

/// rows [queries, width] (+)= scores^T [queries, keys] * b [keys, width], as far as the mask reaches.
template <Scalar T>
void multiply_by_keys(const T* scores, const T* b, T* rows, const AttentionBlocks<T>& blocks,
                      const AttentionMask& mask, bool accumulate) {
  using Product = AttentionProduct<T>;
  const Product product{scores, 1, blocks.queries, b, blocks.width, rows, blocks.width};
  product.run(mask.queries, blocks.width, accumulate, [&](Index query) {
    return typename Product::Range{0, mask.keys_of(query + Product::tile_rows - 1)};
  });
}

/// rows [keys, width] = scores [keys, queries] * b [queries, width], as far as the mask reaches.
template <Scalar T>
void multiply_by_queries(const T* scores, const T* b, T* rows, const AttentionBlocks<T>& blocks,
                         const AttentionMask& mask) {
  using Product = AttentionProduct<T>;
  const Product product{scores, blocks.queries, 1, b, blocks.width, rows, blocks.width};
  product.run(mask.keys, blocks.width, false, [&](Index key) {
    return typename Product::Range{mask.first_query_of(key), mask.queries};
  });
}

/// The output of one block of queries, key tile by key tile.
template <Scalar T>
class AttentionForwardBlock {
  using Product = AttentionProduct<T>;
  using Blocks = AttentionBlocks<T>;
  using S = Simd<T>;
  using Vector = typename S::Vector;

 public:
  AttentionForwardBlock(HeadTriple<const T> head, const AttentionSizes& sizes, Index first_query)
      : head_(head),
        sizes_(sizes),
        blocks_(sizes.d_head),
        first_query_(first_query),
        queries_(std::min(blocks_.queries, sizes.tokens - first_query)) {}

  /// Writes the block's rows of y [T, d_head] and log_sum_exp [T] (may be null).
  void run(HeadMatrix<T> y, T* log_sum_exp) {
    const Index padded = Blocks::round_up(queries_, Product::panel);
    pack_rows(head_.queries, first_query_, queries_, attention_scale<T>(sizes_), out_, padded, blocks_.width);
    transpose_rows(out_, padded, blocks_.width, queries_t_, blocks_.queries);
    std::fill_n(maximum_, blocks_.queries, -std::numeric_limits<T>::infinity());
    std::fill_n(sum_, blocks_.queries, T{0});
    const Index last_key = sizes_.causal ? first_query_ + queries_ : sizes_.tokens;
    for (Index key = 0; key < last_key; key += blocks_.keys) {
      add_keys({sizes_.causal, first_query_, queries_, key, std::min(blocks_.keys, last_key - key)});
    }
    for (Index q = 0; q < queries_; ++q) {
      unpack_rows(out_ + q * blocks_.width, blocks_.width, 1 / sum_[q], y, first_query_ + q, 1, false);
      if (log_sum_exp != nullptr) log_sum_exp[first_query_ + q] = maximum_[q] + std::log(sum_[q]);
    }
  }

 private:
  void add_keys(const AttentionMask& mask) {
    const Index padded = Blocks::round_up(mask.keys, Product::tile_rows);
    pack_rows(head_.keys, mask.first_key, mask.keys, T{1}, keys_, padded, blocks_.width);
    pack_rows(head_.values, mask.first_key, mask.keys, T{1}, values_, mask.keys, blocks_.width);
    multiply_scores(keys_, queries_t_, scores_, blocks_, mask, sizes_.d_head);
    for (Index column = 0; column < queries_; column += Product::panel) softmax(mask, column);
    const bool is_first = mask.first_key == 0;
    if (!is_first) rescale_output();
    multiply_by_keys(scores_, values_, out_, blocks_, mask, !is_first);
  }

  void rescale_output() {
    for (Index q = 0; q < queries_; ++q) {
      T* row = out_ + q * blocks_.width;
      for (Index c = 0; c < blocks_.width; ++c) row[c] *= keep_[q];
    }
  }

  // Online softmax of one panel of queries (arXiv 2307.08691, algorithm 1): scores become exponentials
  // relative to the largest so far; `keep_` is what the results so far must be multiplied by.
  void softmax(const AttentionMask& mask, Index column) {
    const Index keys = hide_scores(scores_, blocks_, mask, column, -std::numeric_limits<T>::infinity());
    T* scores = scores_ + column;
    raise_maximum(scores, keys, column);
    const T* maximum = maximum_ + column;
    for (Index key = 0; key < keys; ++key) {
      T* row = scores + key * blocks_.queries;
      for (Index lane = 0; lane < Product::panel; ++lane) row[lane] = fast_exp(row[lane] - maximum[lane]);
    }
    for (Index lane = 0; lane < Product::panel; lane += Product::lanes) {
      Vector sum, row;
      S::load(sum, sum_ + column + lane);
      for (Index key = 0; key < keys; ++key) {
        S::load(row, scores + key * blocks_.queries + lane);
        sum += row;
      }
      S::store(sum, sum_ + column + lane);
    }
  }

  void raise_maximum(const T* scores, Index keys, Index column) {
    for (Index lane = column; lane < column + Product::panel; lane += Product::lanes) {
      Vector maximum, row;
      S::load(maximum, maximum_ + lane);
      for (Index key = 0; key < keys; ++key) {
        S::load(row, scores + key * blocks_.queries + lane - column);
        maximum = row > maximum ? row : maximum;
      }
      T raised[Product::lanes];
      S::store(maximum, raised);
      for (Index i = 0; i < Product::lanes; ++i) {
        keep_[lane + i] = fast_exp(maximum_[lane + i] - raised[i]);
        sum_[lane + i] *= keep_[lane + i];
        maximum_[lane + i] = raised[i];
      }
    }
  }

  HeadTriple<const T> head_;
  const AttentionSizes& sizes_;
  Blocks blocks_;
  Index first_query_, queries_;
  alignas(storage_alignment) T queries_t_[Blocks::query_numbers];
  alignas(storage_alignment) T keys_[Blocks::key_numbers];
  alignas(storage_alignment) T values_[Blocks::key_numbers];
  alignas(storage_alignment) T scores_[Blocks::score_numbers];
  alignas(storage_alignment) T out_[Blocks::query_numbers];
  alignas(storage_alignment) T maximum_[Blocks::most_queries];
  alignas(storage_alignment) T sum_[Blocks::most_queries];
  alignas(storage_alignment) T keep_[Blocks::most_queries];
};

/// The gradient of one head of one sequence (arXiv 2307.08691, algorithm 2, with the blocks of queries
/// outside).
template <Scalar T>
class AttentionBackwardHead {
  using Product = AttentionProduct<T>;
  using Blocks = AttentionBlocks<T>;

 public:
  AttentionBackwardHead(HeadTriple<const T> head, HeadTriple<T> gradient, bool accumulate,
                        const AttentionSizes& sizes)
      : head_(head),
        gradient_(gradient),
        accumulate_(accumulate),
        sizes_(sizes),
        blocks_(sizes.d_head),
        scale_(attention_scale<T>(sizes)) {}

  /// y and dy [T, d_head], log_sum_exp [T].
  void run(HeadMatrix<const T> y, HeadMatrix<const T> dy, const T* log_sum_exp) {
    // Backwards: the last block sees every key, so it is the one that overwrites the gradient.
    const Index last = (sizes_.tokens - 1) / blocks_.queries * blocks_.queries;
    for (Index query = last; query >= 0; query -= blocks_.queries) {
      const Index count = std::min(blocks_.queries, sizes_.tokens - query);
      load_queries(y, dy, log_sum_exp, query, count);
      const Index last_key = sizes_.causal ? query + count : sizes_.tokens;
      for (Index key = 0; key < last_key; key += blocks_.keys) {
        const Index keys = std::min(blocks_.keys, last_key - key);
        add_keys({sizes_.causal, query, count, key, keys}, accumulate_ || query != last);
      }
      unpack_rows(d_queries_, blocks_.width, scale_, gradient_.queries, query, count, accumulate_);
    }
  }

 private:
  void load_queries(HeadMatrix<const T> y, HeadMatrix<const T> dy, const T* log_sum_exp, Index first,
                    Index count) {
    const Index padded = Blocks::round_up(count, Product::panel);
    pack_rows(head_.queries, first, count, scale_, queries_, padded, blocks_.width);
    pack_rows(dy, first, count, T{1}, dy_, padded, blocks_.width);
    transpose_rows(queries_, padded, blocks_.width, queries_t_, blocks_.queries);
    transpose_rows(dy_, padded, blocks_.width, dy_t_, blocks_.queries);
    std::fill_n(log_sum_exp_, blocks_.queries, T{0});
    std::fill_n(delta_, blocks_.queries, T{0});
    std::copy_n(log_sum_exp + first, count, log_sum_exp_);
    for (Index q = 0; q < count; ++q) {
      const T* y_row = y.row(first + q);
      const T* dy_row = dy.row(first + q);
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index c = 0; c < sizes_.d_head; ++c) sum += y_row[c] * dy_row[c];
      delta_[q] = sum;
    }
  }

  void add_keys(const AttentionMask& mask, bool accumulate) {
    const Index padded = Blocks::round_up(mask.keys, Product::tile_rows);
    pack_rows(head_.keys, mask.first_key, mask.keys, T{1}, keys_, padded, blocks_.width);
    pack_rows(head_.values, mask.first_key, mask.keys, T{1}, values_, padded, blocks_.width);
    multiply_scores(keys_, queries_t_, probabilities_, blocks_, mask, sizes_.d_head);
    multiply_scores(values_, dy_t_, d_scores_, blocks_, mask, sizes_.d_head);
    for (Index column = 0; column < mask.queries; column += Product::panel) differentiate(mask, column);
    multiply_by_queries(probabilities_, dy_, d_keys_, blocks_, mask);
    unpack_rows(d_keys_, blocks_.width, T{1}, gradient_.values, mask.first_key, mask.keys, accumulate);
    multiply_by_queries(d_scores_, queries_, d_keys_, blocks_, mask);
    unpack_rows(d_keys_, blocks_.width, T{1}, gradient_.keys, mask.first_key, mask.keys, accumulate);
    multiply_by_keys(d_scores_, keys_, d_queries_, blocks_, mask, mask.first_key != 0);
  }

  // Scores become probabilities p, their gradients dp become those of the scores: p (dp - delta).
  void differentiate(const AttentionMask& mask, Index column) {
    const Index keys = mask.keys_of(column + Product::panel - 1);
    const T* log_sum_exp = log_sum_exp_ + column;
    const T* delta = delta_ + column;
    for (Index key = 0; key < keys; ++key) {
      T* p = probabilities_ + key * blocks_.queries + column;
      T* dp = d_scores_ + key * blocks_.queries + column;
      for (Index lane = 0; lane < Product::panel; ++lane) {
        p[lane] = fast_exp(p[lane] - log_sum_exp[lane]);
        dp[lane] = p[lane] * (dp[lane] - delta[lane]);
      }
    }
    hide_scores(probabilities_, blocks_, mask, column, T{0});
    hide_scores(d_scores_, blocks_, mask, column, T{0});
  }

  HeadTriple<const T> head_;
  HeadTriple<T> gradient_;
  bool accumulate_;
  const AttentionSizes& sizes_;
  Blocks blocks_;
  T scale_;
  alignas(storage_alignment) T queries_[Blocks::query_numbers];
  alignas(storage_alignment) T queries_t_[Blocks::query_numbers];
  alignas(storage_alignment) T dy_[Blocks::query_numbers];
  alignas(storage_alignment) T dy_t_[Blocks::query_numbers];
  alignas(storage_alignment) T d_queries_[Blocks::query_numbers];
  alignas(storage_alignment) T keys_[Blocks::key_numbers];
  alignas(storage_alignment) T values_[Blocks::key_numbers];
  alignas(storage_alignment) T d_keys_[Blocks::key_numbers];
  alignas(storage_alignment) T probabilities_[Blocks::score_numbers];
  alignas(storage_alignment) T d_scores_[Blocks::score_numbers];
  alignas(storage_alignment) T log_sum_exp_[Blocks::most_queries];
  alignas(storage_alignment) T delta_[Blocks::most_queries];
};

}  // namespace detail

template <Scalar T>
void Attention<T>::forward(const T* qkv, T* y, T* log_sum_exp, const AttentionSizes& sizes) {
  const Index block = detail::AttentionBlocks<T>(sizes.d_head).queries;
  const Index blocks = (sizes.tokens + block - 1) / block;
  parallel_for(sizes.batch * sizes.heads * blocks, 1, [&](Index item, Index) {
    const Index row = item / blocks, batch = row / sizes.heads, head = row % sizes.heads;
    const Index first_query = (blocks - 1 - item % blocks) * block;  // the longest causal blocks first
    T* log_sum_exp_row = log_sum_exp == nullptr ? nullptr : log_sum_exp + row * sizes.tokens;
    detail::AttentionForwardBlock<T>({qkv, sizes, batch, head}, sizes, first_query)
        .run(detail::head_matrix(y, sizes, batch, head), log_sum_exp_row);
  });
}

template <Scalar T>
void Attention<T>::backward(const T* qkv, const T* y, const T* log_sum_exp, const T* dy,
                            GradientTarget<T> dqkv, const AttentionSizes& sizes) {
  if (sizes.tokens == 0) return;
  parallel_for(sizes.batch * sizes.heads, 1, [&](Index row, Index) {
    const Index batch = row / sizes.heads, head = row % sizes.heads;
    detail::AttentionBackwardHead<T>({qkv, sizes, batch, head}, {dqkv.data, sizes, batch, head},
                                     dqkv.accumulate, sizes)
        .run(detail::head_matrix(y, sizes, batch, head), detail::head_matrix(dy, sizes, batch, head),
             log_sum_exp + row * sizes.tokens);
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Attention);
