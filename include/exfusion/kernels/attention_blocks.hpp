#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numeric>
#include <type_traits>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/buffer.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/attention_factors.hpp>
#include <exfusion/kernels/attention_product.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/prefetch.hpp>

namespace exfusion::kernels::detail {

/// How many queries and keys meet at a time. The more numbers a head has, the fewer fit in the cache and on
/// the stack.
template <Scalar T>
struct AttentionBlocks {
  using Product = AttentionProduct<PlainNumbers<T>>;

  static constexpr Index round_up(Index count, Index step) { return ceil_divide(count, step) * step; }
  /// Distance between the rows of a matrix: an odd number of cache lines, so that the rows of a panel spread
  /// over all sets of the cache.
  static constexpr Index row_step(Index columns) { return (round_up(columns, line) / line | 1) * line; }

  static constexpr Index line = storage_alignment / static_cast<Index>(sizeof(T));
  /// Blocks of keys are whole panels and whole tiles of rows.
  static constexpr Index key_step = std::lcm(Product::panel, Product::tile_rows);
  static constexpr Index most_keys = 192;
  static constexpr Index most_queries = 96;
  static constexpr Index longest_step = row_step(Attention<T>::max_d_head);
  /// Room for a block of keys, its transpose, a block of queries, and the scores between the two.
  static constexpr Index key_numbers = std::max(most_keys * row_step(64), key_step* longest_step);
  static constexpr Index transposed_numbers = key_numbers + 2 * line * Attention<T>::max_d_head;
  static constexpr Index query_numbers =
      std::max(most_queries * row_step(64), Product::tile_rows* longest_step);
  static constexpr Index longest_score_step = row_step(most_keys + Product::tile_rows);
  static constexpr Index score_numbers = most_queries * longest_score_step;
  /// Room for the pairs of a block of queries, and for those of its transposed scores.
  static constexpr Index paired_query_numbers = query_numbers / 2 + line * longest_step;
  static constexpr Index paired_score_numbers =
      (most_keys + Product::tile_rows + line) * row_step(most_queries / 2 + line);
  static_assert(most_keys % key_step == 0 && most_queries % Product::tile_rows == 0);

  explicit AttentionBlocks(Index d_head)
      : width(round_up(d_head, Product::lanes)),
        step(row_step(width)),
        keys(std::min(most_keys, key_numbers / step / key_step * key_step)),
        queries(std::min(most_queries, query_numbers / step / Product::tile_rows * Product::tile_rows)),
        transposed_step(row_step(keys)),
        score_step(row_step(keys + Product::tile_rows)),
        pair_step(row_step(queries / 2 + line)) {}

  Index width;            ///< d_head, padded to whole vectors.
  Index step;             ///< Between packed rows of `width` numbers.
  Index keys;             ///< Keys of a block.
  Index queries;          ///< Queries of a block.
  Index transposed_step;  ///< Between the rows of transposed keys.
  Index score_step;       ///< Between the scores of two queries; leaves room for a tile beyond the keys.
  Index pair_step;        ///< Between the scores of two keys if those of two queries are paired.
};

/// A block of queries and a block of keys, and who sees whom. Queries and keys count from their block's
/// start.
struct AttentionMask {
  bool causal;
  Index first_query, queries;
  Index first_key, keys;

  /// Number of keys that a query sees. Queries beyond the block see what its last one does.
  Index keys_of(Index query) const {
    const Index last = first_query + std::min(query, queries - 1);
    return causal ? std::clamp<Index>(last + 1 - first_key, 0, keys) : keys;
  }
  /// The first query that sees a key.
  Index first_query_of(Index key) const {
    return causal ? std::clamp<Index>(first_key + key - first_query, 0, queries) : 0;
  }
};

/// One matrix of a head inside a [B, T, n D] tensor.
template <class T>
struct HeadMatrix {
  T* data;
  Index row_stride;
  Index d_head;

  T* row(Index token) const { return data + token * row_stride; }
  operator HeadMatrix<const T>() const requires(!std::is_const_v<T>) { return {data, row_stride, d_head}; }
};

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

/// Asks for a row that is soon needed, to be written to if T is not const. Rows lie far apart, where the CPU
/// does not guess them.
template <class T>
[[gnu::always_inline]] inline void prefetch_row(HeadMatrix<T> matrix, Index token) {
  prefetch(matrix.row(token), matrix.d_head);
}

/// Rows that are asked for while a head is computed: those of the head that comes next, and those that this
/// one will be written to. With few tokens much of the time would pass in waiting for them; with many there
/// is nothing to ask for.
template <class T, int count>
class RowsAhead {
 public:
  RowsAhead() = default;
  RowsAhead(Index tokens, const std::array<HeadMatrix<const T>, count>& matrices)
      : tokens_(tokens), matrices_(matrices) {}

  /// Asks for the rows of a token, if there is one.
  [[gnu::always_inline]] void ask(Index token) const {
    if (token >= tokens_) return;
    for (const auto& matrix : matrices_) prefetch<CacheLevel::second>(matrix.row(token), matrix.d_head);
  }

 private:
  Index tokens_ = 0;
  std::array<HeadMatrix<const T>, count> matrices_ = {};
};

inline constexpr Index rows_ahead = 8;  ///< How far ahead of a copy rows are asked for.

/// Copies rows [first, first + count) of `from` to `to` [padded_count, width], zero-padded, with rows `step`
/// apart: as a first factor. `width` counts numbers.
template <class Factors>
void pack_rows(HeadMatrix<const typename Factors::Source> from, Index first, Index count,
               typename Factors::Packed* to, Index padded_count, Index width, Index step) {
  using S = Simd<typename Factors::Packed>;
  const Index depth = Factors::depth_of(width);
  for (Index r = 0; r < count; ++r, to += step) {
    prefetch_row(from, first + std::min(r + rows_ahead, count - 1));
    for (Index c = 0; c < depth; c += S::lanes) {
      typename S::Vector packed;
      Factors::load(packed, from.row(first + r), c, from.d_head);
      S::store(packed, to + c);
    }
  }
  for (Index r = count; r < padded_count; ++r, to += step)
    std::fill_n(to, depth, typename Factors::Packed{0});
}

/// The same rows as a second factor: `to` [depth_of(count), width] with rows `step` apart, and rows of zeros
/// up to a whole step.
template <class Factors>
void pack_depth(HeadMatrix<const typename Factors::Source> from, Index first, Index count,
                typename Factors::Packed* to, Index width, Index step) {
  constexpr Index group = Factors::group, whole = group * Factors::Product::depth_step;
  Index r = 0;
  for (; r < count; r += group, to += step) {
    for (Index i = 0; i < group; ++i) prefetch_row(from, first + std::min(r + i + rows_ahead, count - 1));
    for (Index c = 0; c < width; c += Factors::S::lanes)
      Factors::pack(from.row(first + r) + c, from.d_head - c, from.row_stride, r + group <= count, to + c);
  }
  for (; r % whole != 0; r += group, to += step) std::fill_n(to, width, typename Factors::Packed{0});
}

/// The transpose of rows [first, first + count) of `from` as a second factor, with rows `step` apart; both
/// sizes are zero-padded to whole vectors.
template <class Factors>
void pack_transposed(HeadMatrix<const typename Factors::Source> from, Index first, Index count,
                     typename Factors::Packed* to, Index step) {
  using S = Simd<typename Factors::Packed>;
  const Index depth =
      AttentionBlocks<typename Factors::T>::round_up(Factors::depth_of(from.d_head), S::lanes);
  alignas(storage_alignment)
      typename Factors::Packed strip[S::lanes * Attention<typename Factors::T>::max_d_head];
  for (Index r = 0; r < count; r += S::lanes) {
    pack_rows<Factors>(from, first + r, std::min<Index>(S::lanes, count - r), strip, S::lanes,
                       depth * Factors::group, depth);
    for (Index c = 0; c < depth; c += S::lanes) {
      typename S::Vector square[S::lanes];
      for (int i = 0; i < S::lanes; ++i) S::load(square[i], strip + i * depth + c);
      S::transpose(square);
      for (int i = 0; i < S::lanes; ++i) S::store(square[i], to + (c + i) * step + r);
    }
  }
}

/// Row `token` of `to` (+)= scale * from [d_head].
template <Scalar T>
void unpack_row(const T* from, T scale, HeadMatrix<T> to, Index token, bool accumulate) {
  T* row = to.row(token);
  if (accumulate) {
    for (Index c = 0; c < to.d_head; ++c) row[c] += scale * from[c];
  } else {
    for (Index c = 0; c < to.d_head; ++c) row[c] = scale * from[c];
  }
}
/// The same rounded; `accumulate` must be false.
template <Scalar T>
void unpack_row(const T* from, T scale, HeadMatrix<Bfloat16> to, Index token,
                [[maybe_unused]] bool accumulate) {
  assert(!accumulate);
  Bfloat16* row = to.row(token);
#pragma omp simd
  for (Index c = 0; c < to.d_head; ++c) row[c] = Bfloat16::from(static_cast<float>(scale * from[c]));
}

/// scores [queries, keys] = rows [queries, d_head] * transposed [d_head, keys], as far as the mask reaches.
template <class Factors>
void multiply_scores(const typename Factors::Packed* rows, const typename Factors::Packed* transposed,
                     typename Factors::T* scores, const AttentionBlocks<typename Factors::T>& blocks,
                     const AttentionMask& mask, Index d_head) {
  using Product = typename Factors::Product;
  const Index keys = mask.keys_of(mask.queries - 1);
  for (Index key = 0; key < keys; key += Product::strip) {
    const Index skipped = mask.first_query_of(key) / Product::tile_rows * Product::tile_rows;
    const Product product{rows + skipped * blocks.step,
                          blocks.step,
                          1,
                          transposed + key,
                          blocks.transposed_step,
                          scores + skipped * blocks.score_step + key,
                          blocks.score_step};
    product.run(mask.queries - skipped, std::min(Product::strip, keys - key), {}, [=](Index) {
      return typename Product::Range{0, Factors::depth_of(d_head)};
    });
  }
}

/// out [queries, width] (+)= scores [queries, keys] * rows [keys, width], as far as the mask reaches.
template <class Factors>
void multiply_by_keys(const typename Factors::Packed* scores, const typename Factors::Packed* rows,
                      typename Factors::T* out, const AttentionBlocks<typename Factors::T>& blocks,
                      const AttentionMask& mask, typename Factors::Product::Former former) {
  using Product = typename Factors::Product;
  const Product product{scores, blocks.score_step, 1, rows, blocks.step, out, blocks.step};
  product.run(mask.queries, blocks.width, former, [&](Index query) {
    return typename Product::Range{0, Factors::depth_of(mask.keys_of(query + Product::tile_rows - 1))};
  });
}

/// out [keys, width] (+)= scores^T [keys, queries] * rows [queries, width], as far as the mask reaches. Tile
/// registers read the transpose itself, [keys, queries] with rows `pair_step` apart.
template <class Factors>
void multiply_by_queries(const typename Factors::Packed* scores, const typename Factors::Packed* rows,
                         typename Factors::T* out, const AttentionBlocks<typename Factors::T>& blocks,
                         const AttentionMask& mask, bool accumulate) {
  using Product = typename Factors::Product;
  constexpr bool transposed = Product::in_tile_registers;
  const Product product{scores,
                        transposed ? blocks.pair_step : 1,
                        transposed ? 1 : blocks.score_step,
                        rows,
                        blocks.step,
                        out,
                        blocks.step};
  product.run(mask.keys, blocks.width, {accumulate}, [&](Index key) {
    const Index first = mask.first_query_of(key);
    if (first == mask.queries) return typename Product::Range{0, 0};
    return typename Product::Range{first / Factors::group, Factors::depth_of(mask.queries)};
  });
}

}  // namespace exfusion::kernels::detail
