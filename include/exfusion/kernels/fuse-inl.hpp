#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/fuse.hpp>

namespace exfusion::kernels {

namespace detail {

// A block of every stream involved stays in the first-level cache.
inline constexpr Index fuse_block = 1024;

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

template <Scalar T>
void scale(const T* __restrict x, T a, Index size, T* __restrict y) {
  for (Index j = 0; j < size; ++j) y[j] = a * x[j];
}

template <Scalar T>
void add_scaled(const T* __restrict x, T a, Index size, T* __restrict y) {
  for (Index j = 0; j < size; ++j) y[j] += a * x[j];
}

template <Scalar T>
double dot(const T* g, const T* w, Index size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < size; ++j) sum += static_cast<double>(g[j]) * static_cast<double>(w[j]);
  return sum;
}

template <Scalar T>
double dot_of_difference(const T* g, const T* w, const T* origin, Index size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < size; ++j) sum += static_cast<double>(g[j]) * static_cast<double>(w[j] - origin[j]);
  return sum;
}

template <Scalar T>
double squared_distance(const T* w, const T* origin, Index size) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (Index j = 0; j < size; ++j) {
    const auto difference = static_cast<double>(w[j] - origin[j]);
    sum += difference * difference;
  }
  return sum;
}

/// sums[g, i] = sum of `term(row of expert i, first element, elements)` over g's blocks: every span's part
/// goes to its own place in `scratch`, then the parts are added up in order.
template <Scalar T, class Term>
void reduce(const FusionLayout& layout, const T* rows, double* scratch, double* sums, const Term& term) {
  for_each_span(layout, [&](Index index, const FusionSpan& span) {
    double* part = scratch + index * layout.experts;
    std::fill_n(part, layout.experts, 0.0);
    for_each_block(span, [&](Index first, Index size) {
      for (Index i = 0; i < layout.experts; ++i) part[i] += term(rows + i * layout.row_size, first, size);
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
  detail::for_each_span(layout, [&](Index, const FusionSpan& span) {
    const T* weight = a + span.group * layout.experts;
    detail::for_each_block(span, [&](Index first, Index size) {
      detail::scale(rows + first, weight[0], size, fused + first);
      for (Index i = 1; i < layout.experts; ++i) {
        detail::add_scaled(rows + i * layout.row_size + first, weight[i], size, fused + first);
      }
    });
  });
}

template <Scalar T>
void Fuse<T>::inner_products(const FusionLayout& layout, const T* rows, const T* origin, const T* gradient,
                             double* scratch, double* products) {
  detail::reduce(layout, rows, scratch, products, [=](const T* row, Index first, Index size) {
    return origin == nullptr ? detail::dot(gradient + first, row + first, size)
                             : detail::dot_of_difference(gradient + first, row + first, origin + first, size);
  });
}

template <Scalar T>
void Fuse<T>::squared_distances(const FusionLayout& layout, const T* rows, const T* origin, double* scratch,
                                double* distances) {
  detail::reduce(layout, rows, scratch, distances, [=](const T* row, Index first, Index size) {
    return detail::squared_distance(row + first, origin + first, size);
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Fuse);
