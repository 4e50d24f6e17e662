#pragma once

#include <algorithm>
#include <numeric>

#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels::detail {

/// The matrix products of attention: small, on the stack, operands padded to full register tiles.
template <Scalar T>
struct AttentionProduct {
  using S = Simd<T>;
  using Vector = typename S::Vector;
  static constexpr Index lanes = S::lanes;
  static constexpr Index most_vectors = 2;
  static constexpr Index panel = most_vectors * lanes;  ///< Columns of a register tile.
  static constexpr Index tile_rows = 6;                 ///< 6 x 2 sums, 2 vectors and a factor: 15 registers.

  /// A [rows, depth], element (r, k) at `a[r * a_row + k * a_depth]`; B [depth, columns]; C [rows, columns].
  const T* a;
  Index a_row, a_depth;
  const T* b;
  Index b_row;
  T* c;
  Index c_row;

  struct Range {
    Index begin, end;
  };

  /// C = A B, or C += A B when `accumulate`. Rows and columns are rounded up to whole tiles and vectors.
  /// `range(row)` tells which part of the depth the tile of rows from `row` on needs.
  template <class DepthOfRow>
  void run(Index rows, Index columns, bool accumulate, const DepthOfRow& range) const {
    for (Index column = 0; column < columns; column += panel) {
      if (columns - column > lanes) {
        run_panel<2>(rows, column, accumulate, range);
      } else {
        run_panel<1>(rows, column, accumulate, range);
      }
    }
  }

 private:
  template <int vectors, class DepthOfRow>
  void run_panel(Index rows, Index column, bool accumulate, const DepthOfRow& range) const {
    for (Index row = 0; row < rows; row += tile_rows) {
      const Range depth = range(row);
      run_tile<vectors>(row, column, depth, accumulate);
    }
  }

  template <int vectors>
  [[gnu::always_inline]] void run_tile(Index row, Index column, Range depth, bool accumulate) const {
    Vector sums[tile_rows][vectors] = {};
    const T* column_of_a = a + row * a_row + depth.begin * a_depth;
    const T* row_of_b = b + depth.begin * b_row + column;
#pragma GCC unroll 2
    for (Index k = depth.begin; k < depth.end; ++k) {
      Vector right[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        Vector loaded;
        S::load(loaded, row_of_b + v * lanes);
        keep_in_register(loaded);
        right[v] = loaded;
      }
#pragma GCC unroll 6
      for (int r = 0; r < tile_rows; ++r) {
        Vector factor = column_of_a[r * a_row] - Vector{};
        keep_in_register(factor);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sums[r][v] += factor * right[v];
      }
      column_of_a += a_depth;
      row_of_b += b_row;
    }
    T* to = c + row * c_row + column;
#pragma GCC unroll 6
    for (int r = 0; r < tile_rows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        Vector before = {};
        if (accumulate) S::load(before, to + v * lanes);
        S::store(before + sums[r][v], to + v * lanes);
      }
      to += c_row;
    }
  }

  // Otherwise GCC loads the same elements once for each product.
  [[gnu::always_inline]] static void keep_in_register([[maybe_unused]] Vector& vector) {
#if defined(__AVX512F__) && !defined(__clang__)
    asm("" : "+v"(vector));
#elif defined(__AVX__) && !defined(__clang__)
    asm("" : "+x"(vector));
#endif
  }
};

/// How many queries and keys meet at a time. The more numbers a head has, the fewer fit in the cache and on
/// the stack.
template <Scalar T>
struct AttentionBlocks {
  using Product = AttentionProduct<T>;
  static constexpr Index most_queries = 96;
  static constexpr Index most_keys = 66;
  /// Blocks of queries are whole panels and whole tiles of rows.
  static constexpr Index query_step = std::lcm(Product::panel, Product::tile_rows);
  /// Room for a block of queries, a tile of keys, and the scores between them.
  static constexpr Index query_numbers =
      std::max<Index>(most_queries * 64, Attention<T>::max_d_head* query_step);
  static constexpr Index key_numbers = most_keys * 64;
  static constexpr Index score_numbers = most_queries * most_keys;
  static_assert(most_queries % query_step == 0 && most_keys % Product::tile_rows == 0);
  static_assert(key_numbers >= Attention<T>::max_d_head * Product::tile_rows);

  explicit AttentionBlocks(Index d_head)
      : width(round_up(d_head, Product::lanes)),
        queries(std::min(most_queries, query_numbers / width / query_step * query_step)),
        keys(std::min(most_keys, key_numbers / width / Product::tile_rows * Product::tile_rows)) {}

  static Index round_up(Index count, Index step) { return (count + step - 1) / step * step; }

  Index width;    ///< d_head, padded to whole vectors.
  Index queries;  ///< Queries of a block.
  Index keys;     ///< Keys of a tile.
};

/// A block of queries and a tile of keys, and who sees whom. Queries and keys count from their block's start.
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
};

/// Copies rows [first, first + count) of `from`, times `scale`, to `to` [padded_count, width], zero-padded.
template <Scalar T>
void pack_rows(HeadMatrix<const T> from, Index first, Index count, T scale, T* to, Index padded_count,
               Index width) {
  using S = Simd<T>;
  const Index whole = from.d_head / S::lanes * S::lanes;
  for (Index r = 0; r < count; ++r, to += width) {
    const T* row = from.row(first + r);
    const T* ahead = from.row(first + std::min(r + 6, count - 1));
    for (Index c = 0; c < whole; c += S::lanes) {
      __builtin_prefetch(ahead + c);
      typename S::Vector numbers;
      S::load(numbers, row + c);
      S::store(scale * numbers, to + c);
    }
    for (Index c = whole; c < width; ++c) to[c] = c < from.d_head ? scale * row[c] : T{0};
  }
  std::fill(to, to + (padded_count - count) * width, T{0});
}

/// to [width, rows] = the transpose of from [rows, width]; both sizes are multiples of the vector length.
template <Scalar T>
void transpose_rows(const T* from, Index rows, Index width, T* to, Index to_row) {
  using S = Simd<T>;
  for (Index r = 0; r < rows; r += S::lanes) {
    for (Index c = 0; c < width; c += S::lanes) {
      typename S::Vector square[S::lanes];
      for (int i = 0; i < S::lanes; ++i) S::load(square[i], from + (r + i) * width + c);
      S::transpose(square);
      for (int i = 0; i < S::lanes; ++i) S::store(square[i], to + (c + i) * to_row + r);
    }
  }
}

/// Rows [first, first + count) of `to` (+)= scale * from [count, width].
template <Scalar T>
void unpack_rows(const T* from, Index width, T scale, HeadMatrix<T> to, Index first, Index count,
                 bool accumulate) {
  for (Index r = 0; r < count; ++r) {
    T* row = to.row(first + r);
    if (accumulate) {
      for (Index c = 0; c < to.d_head; ++c) row[c] += scale * from[r * width + c];
    } else {
      for (Index c = 0; c < to.d_head; ++c) row[c] = scale * from[r * width + c];
    }
  }
}

}  // namespace exfusion::kernels::detail
