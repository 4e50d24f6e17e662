#pragma once

#include <algorithm>
#include <concepts>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Elements that one parallel range of a simple loop works on.
inline constexpr Index elementwise_grain = 16384;

/// Rows of `columns` elements that make up one such range.
inline Index rows_grain(Index columns) {
  return std::max<Index>(1, elementwise_grain / std::max<Index>(columns, 1));
}

/// target[i] (+)= value(i) for begin <= i < end: one vectorised loop. `value(i)` may read target[i] but no
/// other element of it.
template <Scalar T, class Value>
[[gnu::always_inline]] inline void write(GradientTarget<T> target, Index begin, Index end,
                                         const Value& value) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, `value` may call the standard library
  if (target.accumulate) {
#pragma omp simd if (vectorised)
    for (Index i = begin; i < end; ++i) target.data[i] += value(i);
  } else {
#pragma omp simd if (vectorised)
    for (Index i = begin; i < end; ++i) target.data[i] = value(i);
  }
}

/// The sum of value(i) for 0 <= i < size, vectorised: in an order that depends on the build alone.
template <Scalar T, class Value>
[[gnu::always_inline]] inline T sum(Index size, const Value& value) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (Index i = 0; i < size; ++i) total += value(i);
  return total;
}

/// The largest of `floor` and x[i] for 0 <= i < size, vectorised. NaN is passed over.
template <Scalar T>
[[gnu::always_inline]] inline T maximum(const T* x, Index size, T floor) {
  constexpr Index lanes = 32;
  T best[lanes];
  std::fill_n(best, lanes, floor);
  Index i = 0;
  for (; i + lanes <= size; i += lanes) {
#pragma omp simd
    for (Index lane = 0; lane < lanes; ++lane)
      best[lane] = x[i + lane] > best[lane] ? x[i + lane] : best[lane];
  }
  for (; i < size; ++i) best[0] = x[i] > best[0] ? x[i] : best[0];
  return *std::max_element(best, best + lanes);
}

}  // namespace exfusion::kernels
