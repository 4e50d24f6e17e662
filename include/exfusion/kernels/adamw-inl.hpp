#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/adamw.hpp>
#include <exfusion/kernels/bf16_moments.hpp>
#include <exfusion/kernels/fast_math.hpp>
#include <exfusion/kernels/prefetch.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels {

namespace detail {

/// The next moments m and v of one number in T, or of a vector of them.
template <Scalar T, class Number>
[[gnu::always_inline]] inline void move_moments(const AdamWStep<T>& s, const Number& gradient, Number& m,
                                                Number& v) {
  m = s.beta1 * m + s.new1 * gradient;
  v = s.beta2 * v + s.new2 * gradient * gradient;
}

/// By how much the step changes parameters, beside their decay; `root` is that of v, and is overwritten.
template <Scalar T, class Number>
[[gnu::always_inline]] inline void adamw_change(const AdamWStep<T>& s, T eps, const Number& m, Number& root) {
  root = s.rate * m / (root * s.root_scale + eps);
}

/// Moves the moments m and v of [begin, end) by the gradients a g, and passes on what is to change there:
/// `apply(i, change)`, where `change` is that of element i, or of a vector of elements from i on.
template <Scalar T, class Apply>
[[gnu::always_inline]] inline void for_each_change(const AdamWStep<T>& s, T eps, T a, const T* g, T* m, T* v,
                                                   Index begin, Index end, const Apply& apply) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, std::sqrt may set errno
  if constexpr (vectorised && has_quick_roots) {
    using S = Simd<T>;
    for (; begin + S::lanes <= end; begin += S::lanes) {
      typename S::Vector gradient, mean, square;
      S::load(gradient, g + begin);
      S::load(mean, m + begin);
      S::load(square, v + begin);
      gradient *= a;
      move_moments(s, gradient, mean, square);
      S::store(mean, m + begin);
      S::store(square, v + begin);
      square_roots(square);
      adamw_change(s, eps, mean, square);
      apply(begin, square);
    }
  }
#pragma omp simd if (vectorised)
  for (Index i = begin; i < end; ++i) {
    T mean = m[i], square = v[i];
    move_moments(s, a * g[i], mean, square);
    m[i] = mean;
    v[i] = square;
    T change = fast_sqrt(square);
    adamw_change(s, eps, mean, change);
    apply(i, change);
  }
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
  const AdamWStep<T> s = step;
  const T eps = detail::adamw_eps(s, a);
  const auto update_range = [=](Index begin, Index end) {
    detail::for_each_change(s, eps, a, g, m, v, begin, end, [&]<class Number>(Index i, const Number& change) {
      Number value;
      std::memcpy(&value, p + i, sizeof value);
      value = s.keep * value - change;
      std::memcpy(p + i, &value, sizeof value);
    });
  };
  stream(size, update_range, p, g, m, v);
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, std::uint32_t* moments, Index size,
                             const AdamWStep<T>& step, std::uint32_t seed) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, std::sqrt may set errno
  const AdamWStep<T> s = step;
  const T eps = detail::adamw_eps(s, a);
  const auto update_range = [=](Index begin, Index end) {
    // An index of 64 bits would have to be converted for the noise, which would cost as much as the step.
    const auto last = static_cast<std::int32_t>(end);
#pragma omp simd if (vectorised)
    for (auto i = static_cast<std::int32_t>(begin); i < last; ++i) {
      const Bf16Moments old{moments[i]};
      T m{old.m()}, v{old.v()};
      detail::move_moments(s, a * g[i], m, v);
      T change = fast_sqrt(v);
      detail::adamw_change(s, eps, m, change);
      p[i] = s.keep * p[i] - change;
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
  const AdamWStep<T> s = step;
  std::array<T, stream_range> storage;
  T* change = storage.data();
  const auto update_range = [=](Index begin, Index end) {
    detail::for_each_change(s, s.eps, T{1}, g, m, v, begin, end,
                            [&]<class Number>(Index i, const Number& value) {
                              std::memcpy(change + (i - begin), &value, sizeof value);
                            });
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
