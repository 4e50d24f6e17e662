#pragma once

#include <algorithm>
#include <concepts>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/kernels/prefetch.hpp>

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

/// The same, and what the target and `reads` hold further on is fetched meanwhile: for values that take
/// longer to compute than to read, of which the processor does not foresee enough.
template <Scalar T, class Value, class... Elements>
[[gnu::always_inline]] inline void write_streaming(GradientTarget<T> target, Index begin, Index end,
                                                   const Value& value, const Elements*... reads) {
  stream(
      end - begin, [&](Index first, Index last) { write(target, begin + first, begin + last, value); },
      target.data + begin, (reads + begin)...);
}

/// Partial results that a row's sum or maximum is split into: their number is fixed, so that neither the
/// rounding errors nor the result depend on what the compiler vectorises.
inline constexpr Index row_lanes = 32;

/// The sum of value(i) for 0 <= i < size, vectorised, in a fixed order.
template <Scalar T, class Value>
[[gnu::always_inline]] inline T sum(Index size, const Value& value) {
  T part[row_lanes] = {};
  Index i = 0;
  for (; i + row_lanes <= size; i += row_lanes) {
    constexpr bool vectorised = std::same_as<T, float>;
#pragma omp simd if (vectorised)
    for (Index lane = 0; lane < row_lanes; ++lane) part[lane] += value(i + lane);
  }
  T rest = 0;  // apart from the lanes, which then stay in registers
  for (; i < size; ++i) rest += value(i);
  for (Index half = row_lanes / 2; half > 0; half /= 2) {
    for (Index lane = 0; lane < half; ++lane) part[lane] += part[lane + half];
  }
  return part[0] + rest;
}

/// The largest of `floor` and x[i] for 0 <= i < size, vectorised. NaN is passed over.
template <Scalar T>
[[gnu::always_inline]] inline T maximum(const T* x, Index size, T floor) {
  T best[row_lanes];
  std::fill_n(best, row_lanes, floor);
  Index i = 0;
  for (; i + row_lanes <= size; i += row_lanes) {
#pragma omp simd
    for (Index lane = 0; lane < row_lanes; ++lane)
      best[lane] = x[i + lane] > best[lane] ? x[i + lane] : best[lane];
  }
  T rest = floor;
  for (; i < size; ++i) rest = x[i] > rest ? x[i] : rest;
  return std::max(rest, *std::max_element(best, best + row_lanes));
}

}  // namespace exfusion::kernels
