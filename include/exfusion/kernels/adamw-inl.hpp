#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/adamw.hpp>
#include <exfusion/kernels/fast_math.hpp>

namespace exfusion::kernels {

template <Scalar T>
void AdamW<T>::update(T* p, const T* g, T* m, T* v, Index size, const AdamWStep<T>& step) {
  parallel_for(size, 16384, [=, &step](Index begin, Index end) {
    update_expert(p + begin, g + begin, T{1}, m + begin, v + begin, end - begin, step);
  });
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, T* m, T* v, Index size, const AdamWStep<T>& step) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, std::sqrt may set errno
  const AdamWStep<T> s = step;
  // An expert without weight has no gradient: its eps must not become 0, or 0 / 0 would be its step.
  const T eps = s.eps * std::max(std::abs(a), std::numeric_limits<T>::epsilon());
#pragma omp simd if (vectorised)
  for (Index i = 0; i < size; ++i) {
    const T gradient = a * g[i];
    const T mean = s.beta1 * m[i] + s.new1 * gradient;
    const T square = s.beta2 * v[i] + s.new2 * gradient * gradient;
    m[i] = mean;
    v[i] = square;
    p[i] = s.keep * p[i] - s.rate * mean / (fast_sqrt(square) * s.root_scale + eps);
  }
}

template <Scalar T>
void AdamW<T>::update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* m, T* v,
                              Index size, const AdamWStep<T>& step) {
  constexpr bool vectorised = std::same_as<T, float>;
  constexpr Index block = 128;  // small, so that the fetching of all rows overlaps
  const AdamWStep<T> s = step;
  std::array<T, block> storage;
  T* change = storage.data();
  for (Index begin = 0; begin < size; begin += block) {
    const Index count = std::min(block, size - begin);
    const T* gradient = g + begin;
    T* mean = m + begin;
    T* square = v + begin;
#pragma omp simd if (vectorised)
    for (Index i = 0; i < count; ++i) {
      mean[i] = s.beta1 * mean[i] + s.new1 * gradient[i];
      square[i] = s.beta2 * square[i] + s.new2 * gradient[i] * gradient[i];
      change[i] = s.rate * mean[i] / (fast_sqrt(square[i]) * s.root_scale + s.eps);
    }
    for (Index expert = 0; expert < experts; ++expert) {
      const T sign = static_cast<T>((a[expert] > 0) - (a[expert] < 0));
      T* row = p + expert * stride + begin;
#pragma omp simd
      for (Index i = 0; i < count; ++i) row[i] = s.keep * row[i] - sign * change[i];
    }
  }
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::AdamW);
