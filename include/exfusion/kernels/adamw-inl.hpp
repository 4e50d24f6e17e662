#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/adamw.hpp>
#include <exfusion/kernels/bf16_moments.hpp>
#include <exfusion/kernels/fast_math.hpp>
#include <exfusion/kernels/round.hpp>

namespace exfusion::kernels {

namespace detail {

/// The next value of p; m and v become the next moments.
template <Scalar T>
[[gnu::always_inline]] inline T adamw_step(const AdamWStep<T>& s, T eps, T p, T gradient, T& m, T& v) {
  m = s.beta1 * m + s.new1 * gradient;
  v = s.beta2 * v + s.new2 * gradient * gradient;
  return s.keep * p - s.rate * m / (fast_sqrt(v) * s.root_scale + eps);
}

/// An expert without weight has no gradient: its eps must not become 0, or 0 / 0 would be its step.
template <Scalar T>
T adamw_eps(const AdamWStep<T>& step, T a) {
  return step.eps * std::max(std::abs(a), std::numeric_limits<T>::epsilon());
}

}  // namespace detail

template <Scalar T>
void AdamW<T>::update(T* p, const T* g, T* m, T* v, Index size, const AdamWStep<T>& step, Bfloat16* rounded) {
  parallel_for(size, 16384, [=, &step](Index begin, Index end) {
    update_expert(p + begin, g + begin, T{1}, m + begin, v + begin, end - begin, step);
    if (rounded != nullptr) Round<T>::to_bfloat16_serial(p + begin, rounded + begin, end - begin);
  });
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, T* m, T* v, Index size, const AdamWStep<T>& step) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, std::sqrt may set errno
  const AdamWStep<T> s = step;
  const T eps = detail::adamw_eps(s, a);
#pragma omp simd if (vectorised)
  for (Index i = 0; i < size; ++i) {
    T mean = m[i], square = v[i];
    p[i] = detail::adamw_step(s, eps, p[i], a * g[i], mean, square);
    m[i] = mean;
    v[i] = square;
  }
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, std::uint32_t* moments, Index size,
                             const AdamWStep<T>& step, std::uint32_t seed) {
  constexpr bool vectorised = std::same_as<T, float>;
  const AdamWStep<T> s = step;
  const T eps = detail::adamw_eps(s, a);
  // An index of 64 bits would have to be converted for the noise, which would cost as much as the step.
  const auto count = static_cast<std::int32_t>(size);
#pragma omp simd if (vectorised)
  for (std::int32_t i = 0; i < count; ++i) {
    const Bf16Moments old{moments[i]};
    T m{old.m()}, v{old.v()};
    p[i] = detail::adamw_step(s, eps, p[i], a * g[i], m, v);
    moments[i] = Bf16Moments::rounded(static_cast<float>(m), static_cast<float>(v),
                                      rounding_noise(seed, static_cast<std::uint32_t>(i)))
                     .bits;
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
