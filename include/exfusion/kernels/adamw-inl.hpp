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
#include <exfusion/kernels/prefetch.hpp>
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
  const auto update_range = [=](Index begin, Index end) {
#pragma omp simd if (vectorised)
    for (Index i = begin; i < end; ++i) {
      T mean = m[i], square = v[i];
      p[i] = detail::adamw_step(s, eps, p[i], a * g[i], mean, square);
      m[i] = mean;
      v[i] = square;
    }
  };
  stream(size, update_range, p, g, m, v);
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, std::uint32_t* moments, Index size,
                             const AdamWStep<T>& step, std::uint32_t seed) {
  constexpr bool vectorised = std::same_as<T, float>;
  const AdamWStep<T> s = step;
  const T eps = detail::adamw_eps(s, a);
  const auto update_range = [=](Index begin, Index end) {
    // An index of 64 bits would have to be converted for the noise, which would cost as much as the step.
    const auto last = static_cast<std::int32_t>(end);
#pragma omp simd if (vectorised)
    for (auto i = static_cast<std::int32_t>(begin); i < last; ++i) {
      const Bf16Moments old{moments[i]};
      T m{old.m()}, v{old.v()};
      p[i] = detail::adamw_step(s, eps, p[i], a * g[i], m, v);
      moments[i] = Bf16Moments::rounded(static_cast<float>(m), static_cast<float>(v),
                                        rounding_noise(seed, static_cast<std::uint32_t>(i)))
                       .bits;
    }
  };
  stream(size, update_range, p, g, moments);
}

template <Scalar T>
void AdamW<T>::update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* m, T* v,
                              Index size, const AdamWStep<T>& step) {
  constexpr bool vectorised = std::same_as<T, float>;
  const AdamWStep<T> s = step;
  std::array<T, stream_range> storage;
  T* change = storage.data();
  const auto update_range = [=](Index begin, Index end) {
#pragma omp simd if (vectorised)
    for (Index i = begin; i < end; ++i) {
      m[i] = s.beta1 * m[i] + s.new1 * g[i];
      v[i] = s.beta2 * v[i] + s.new2 * g[i] * g[i];
      change[i - begin] = s.rate * m[i] / (fast_sqrt(v[i]) * s.root_scale + s.eps);
    }
    for (Index expert = 0; expert < experts; ++expert) {
      const T sign = static_cast<T>((a[expert] > 0) - (a[expert] < 0));
      T* row = p + expert * stride;
      prefetch_ahead(row + begin, end - begin);
#pragma omp simd
      for (Index i = begin; i < end; ++i) row[i] = s.keep * row[i] - sign * change[i - begin];
    }
  };
  stream(size, update_range, g, m, v);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::AdamW);
