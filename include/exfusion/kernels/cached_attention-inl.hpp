#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/cached_attention.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/fast_math.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels {

namespace detail {

/// Numbers that stay in registers while a sum runs over the other axis.
inline constexpr Index attention_strip = 64;

/// to[i] = sum over r of factors[r] * matrix[r, i], for i < columns; rows of the matrix are `stride` apart.
template <Scalar T>
void weighted_rows(const T* factors, const T* matrix, Index rows, Index columns, Index stride, T* to) {
  for (Index begin = 0; begin < columns; begin += attention_strip) {
    const Index width = std::min(attention_strip, columns - begin);
    T total[attention_strip] = {};
    if (width == attention_strip) {
      for (Index row = 0; row < rows; ++row) {
        const T* from = matrix + row * stride + begin;
        const T factor = factors[row];
#pragma omp simd
        for (Index i = 0; i < attention_strip; ++i) total[i] += factor * from[i];
      }
    } else {
      for (Index row = 0; row < rows; ++row) {
        const T* from = matrix + row * stride + begin;
#pragma omp simd
        for (Index i = 0; i < width; ++i) total[i] += factors[row] * from[i];
      }
    }
    std::copy_n(total, width, to + begin);
  }
}

}  // namespace detail

template <Scalar T>
void CachedAttention<T>::append(const T* qkv, Index begin, Index tokens, const AttentionCacheSizes& sizes,
                                T* keys, T* values) {
  const Index d_model = sizes.d_model(), d_head = sizes.d_head;
  for (Index i = 0; i < d_model; ++i) {
    for (Index token = 0; token < tokens; ++token)
      keys[i * sizes.capacity + begin + token] = qkv[token * 3 * d_model + d_model + i];
  }
  for (Index token = 0; token < tokens; ++token) {
    const T* value = qkv + token * 3 * d_model + 2 * d_model;
    for (Index head = 0; head < sizes.heads; ++head)
      std::copy_n(value + head * d_head, d_head, values + (head * sizes.capacity + begin + token) * d_head);
  }
}

template <Scalar T>
void CachedAttention<T>::forward(const T* qkv, Index begin, Index tokens, const AttentionCacheSizes& sizes,
                                 const T* keys, const T* values, T* y) {
  const Index heads = sizes.heads, d_head = sizes.d_head, capacity = sizes.capacity, d_model = heads * d_head;
  const T scale = 1 / std::sqrt(static_cast<T>(d_head));
  T* const all_scores = scratch<T>(capacity * omp_get_max_threads());  // taken here, where memory may fail
  // Neighbouring tasks are of one head, whose keys and values they share.
  parallel_for(heads * tokens, 1, [=](Index task, Index) {
    const Index head = task / tokens, token = task % tokens, length = begin + token + 1;
    const T* query = qkv + token * 3 * d_model + head * d_head;
    T* scores = all_scores + capacity * omp_get_thread_num();
    detail::weighted_rows(query, keys + head * d_head * capacity, d_head, length, capacity, scores);
    const T largest = maximum(scores, length, -std::numeric_limits<T>::infinity());
    write<T>({scores, false}, 0, length, [=](Index i) { return fast_exp((scores[i] - largest) * scale); });
    const T inverse = 1 / sum<T>(length, [=](Index i) { return scores[i]; });
    T* to = y + token * d_model + head * d_head;
    detail::weighted_rows(scores, values + head * capacity * d_head, length, d_head, d_head, to);
    write<T>({to, false}, 0, d_head, [=](Index i) { return to[i] * inverse; });
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::CachedAttention);
