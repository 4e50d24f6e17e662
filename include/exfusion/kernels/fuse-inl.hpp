#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/fuse.hpp>
#include <exfusion/kernels/prefetch.hpp>

namespace exfusion::kernels {

namespace detail {

// A block of every stream involved stays in the first-level cache.
inline constexpr Index fuse_block = 1024;

/// How far ahead experts are asked for by passes that do little but read them.
inline constexpr Index fuse_ahead = 16 * stream_range;

/// Calls `body(index of the span, span)` for all spans, in parallel; short ones several to a range.
template <class Body>
void for_each_span(const FusionLayout& layout, const Body& body) {
  constexpr Index least_work = 8192;
  const auto count = static_cast<Index>(layout.spans.size());
  const Index grain = std::max<Index>(1, least_work * count / std::max<Index>(1, layout.row_size));
  parallel_for(count, grain, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) body(i, layout.spans[static_cast<std::size_t>(i)]);
  });
}

/// Calls `body(first element, elements)` for consecutive blocks of a span.
template <class Body>
void for_each_block(const FusionSpan& span, const Body& body) {
  for (Index done = 0; done < span.size; done += fuse_block) {
    body(span.begin + done, std::min(fuse_block, span.size - done));
  }
}

/// Calls `body(first expert, constant number of experts)` for the experts in groups of four, then the rest:
/// as many places of memory are read at once, which one alone would leave idle.
template <class Body>
void for_each_four(Index experts, const Body& body) {
  Index i = 0;
  for (; i + 4 <= experts; i += 4) body(i, std::integral_constant<int, 4>());
  if (experts - i == 1) body(i, std::integral_constant<int, 1>());
  if (experts - i == 2) body(i, std::integral_constant<int, 2>());
  if (experts - i == 3) body(i, std::integral_constant<int, 3>());
}

/// y = (y +) sum of n rows, `stride` apart, times their a.
template <int n, bool add, Scalar T>
void fuse_sum(const T* __restrict rows, Index stride, const T* __restrict a, Index size, T* __restrict y) {
  for (Index j = 0; j < size; ++j) {
    T sum = a[0] * rows[j];
#pragma GCC unroll 4
    for (int i = 1; i < n; ++i) sum += a[i] * rows[i * stride + j];
    y[j] = add ? y[j] + sum : sum;
  }
}

/// y = sum of at most 16 rows, `stride` apart, times their a.
template <Scalar T>
void fuse_sum_of_fours(const T* rows, Index stride, const T* a, Index experts, Index size, T* y) {
  for_each_four(experts, [&](Index i, auto n) {
    if (i == 0) {
      fuse_sum<n.value, false>(rows, stride, a, size, y);
    } else {
      fuse_sum<n.value, true>(rows + i * stride, stride, a + i, size, y);
    }
  });
}

/// sums[i] += sum over j of term(j, row i's element j), for n rows `stride` apart.
template <int n, Scalar T, class Term>
void fuse_reduce_rows(const T* rows, Index stride, Index size, const Term& term, double* sums) {
  constexpr Index lanes = 32;  // fewer, and clang unrolls them before it vectorises
  double total[n][lanes] = {};
  const Index whole = size / lanes * lanes;
  for (Index j = 0; j < whole; j += lanes) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) {
      prefetch_ahead<fuse_ahead>(rows + i * stride + j, lanes);
#pragma omp simd
      for (Index lane = 0; lane < lanes; ++lane) {
        total[i][lane] += term(j + lane, rows[i * stride + j + lane]);
      }
    }
  }
  for (int i = 0; i < n; ++i) {
    double sum = 0;
    for (Index j = whole; j < size; ++j) sum += term(j, rows[i * stride + j]);
    for (double part : total[i]) sum += part;
    sums[i] += sum;
  }
}

/// sums[g, i] = sum over g's elements of what `term_at(first element)` gives for (element, W_i's element):
/// every span's part goes to its own place in `scratch`, then the parts are added up in order.
template <Scalar T, class TermAt>
void fuse_reduce(const FusionLayout& layout, const T* rows, double* scratch, double* sums,
                 const TermAt& term_at) {
  for_each_span(layout, [&](Index index, const FusionSpan& span) {
    double* part = scratch + index * layout.experts;
    std::fill_n(part, layout.experts, 0.0);
    for_each_block(span, [&](Index first, Index size) {
      for_each_four(layout.experts, [&](Index i, auto n) {
        fuse_reduce_rows<n.value>(rows + i * layout.row_size + first, layout.row_size, size, term_at(first),
                                  part + i);
      });
    });
  });
  std::fill_n(sums, layout.groups * layout.experts, 0.0);
  const double* part = scratch;
  for (const FusionSpan& span : layout.spans) {
    for (Index i = 0; i < layout.experts; ++i) sums[span.group * layout.experts + i] += *part++;
  }
}

}  // namespace detail

template <Scalar T>
void Fuse<T>::forward(const FusionLayout& layout, const T* rows, const T* a, T* fused) {
  detail::for_each_span(layout,
                        [&](Index, const FusionSpan& span) { forward_part(layout, span, rows, a, fused); });
}

template <Scalar T>
void Fuse<T>::forward_part(const FusionLayout& layout, const FusionSpan& part, const T* rows, const T* a,
                           T* fused) {
  const T* weight = a + part.group * layout.experts;
  // Sums of sums: equal experts of equal weight give back their bits where E is a power of two up to 64.
  constexpr Index most = 16;
  detail::for_each_block(part, [&](Index first, Index size) {
    std::array<T, detail::fuse_block> room;
    for (Index i = 0; i < layout.experts; i += most) {
      T* sum = i == 0 ? fused + first : room.data();
      detail::fuse_sum_of_fours(rows + i * layout.row_size + first, layout.row_size, weight + i,
                                std::min(most, layout.experts - i), size, sum);
      for (Index j = 0; i > 0 && j < size; ++j) fused[first + j] += sum[j];
    }
  });
}

template <Scalar T>
void Fuse<T>::inner_products(const FusionLayout& layout, const T* rows, const T* origin, const T* gradient,
                             double* scratch, double* products) {
  if (origin == nullptr) {
    detail::fuse_reduce(layout, rows, scratch, products, [=](Index first) {
      const T* g = gradient + first;
      return [=](Index j, T w) { return static_cast<double>(g[j]) * static_cast<double>(w); };
    });
  } else {
    detail::fuse_reduce(layout, rows, scratch, products, [=](Index first) {
      const T *g = gradient + first, *o = origin + first;
      return [=](Index j, T w) { return static_cast<double>(g[j]) * static_cast<double>(w - o[j]); };
    });
  }
}

template <Scalar T>
void Fuse<T>::squared_distances(const FusionLayout& layout, const T* rows, const T* origin, double* scratch,
                                double* distances) {
  detail::fuse_reduce(layout, rows, scratch, distances, [=](Index first) {
    const T* o = origin + first;
    return [=](Index j, T w) { return static_cast<double>(w - o[j]) * static_cast<double>(w - o[j]); };
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Fuse);
