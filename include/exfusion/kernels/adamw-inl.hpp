#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
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

/// An expert without weight has no gradient: its eps must not become 0, or 0 / 0 would be its step.
template <Scalar T>
T adamw_eps(const AdamWStep<T>& step, T a) {
  return step.eps * std::max(std::abs(a), std::numeric_limits<T>::epsilon());
}

/// The moments of consecutive parameters: two arrays of T.
template <Scalar T>
struct MomentArrays {
  using Offset = Index;

  T *m, *v;

  MomentArrays from(Index first) const { return {m + first, v + first}; }

  /// Those of number i, or of a vector of numbers from i on.
  [[gnu::always_inline]] void load(Index i, T& mean, T& square) const {
    mean = m[i];
    square = v[i];
  }
  [[gnu::always_inline]] void store(Index i, T mean, T square) const {
    m[i] = mean;
    v[i] = square;
  }

  using Vector = typename Simd<T>::Vector;

  [[gnu::always_inline]] void load(Index i, Vector& mean, Vector& square) const {
    Simd<T>::load(mean, m + i);
    Simd<T>::load(square, v + i);
  }
  [[gnu::always_inline]] void store(Index i, const Vector& mean, const Vector& square) const {
    Simd<T>::store(mean, m + i);
    Simd<T>::store(square, v + i);
  }
};

/// The same as bits of Bf16Moments; `seed` is that of the first one's rounding.
struct MomentWords {
  /// Short, as the noise would have to be computed from longer ones by instructions that cost as much as the
  /// step.
  using Offset = std::int32_t;

  std::uint32_t* words;
  std::uint32_t seed;

  MomentWords from(Index first) const { return {words + first, seed + static_cast<std::uint32_t>(first)}; }

  template <Scalar T>
  [[gnu::always_inline]] void load(std::int32_t i, T& mean, T& square) const {
    const Bf16Moments moments{words[i]};
    mean = T{moments.m()};
    square = T{moments.v()};
  }
  template <Scalar T>
  [[gnu::always_inline]] void store(std::int32_t i, T mean, T square) const {
    words[i] = Bf16Moments::rounded(static_cast<float>(mean), static_cast<float>(square),
                                    rounding_noise(seed, static_cast<std::uint32_t>(i)))
                   .bits;
  }

  using Floats = Simd<float>::Vector;
  using Words = Simd<std::uint32_t>::Vector;

  [[gnu::always_inline]] void load(std::int32_t i, Floats& mean, Floats& square) const {
    Words moments;
    Simd<std::uint32_t>::load(moments, words + i);
    mean = std::bit_cast<Floats>(moments & 0xFFFF0000U);
    square = std::bit_cast<Floats>(moments << 16);
  }
  [[gnu::always_inline]] void store(std::int32_t i, const Floats& mean, const Floats& square) const {
    Words random, moments;
    for (std::uint32_t lane = 0; lane < Simd<float>::lanes; ++lane) random[lane] = lane * rounding_stride;
    random += rounding_noise(seed, static_cast<std::uint32_t>(i));
    join_rounded(mean, square, random, moments);
    Simd<std::uint32_t>::store(moments, words + i);
  }
};

/// Moves `size` moments by the gradients a g, and passes on what is to change: `apply(i, change)`, where
/// `change` is that of element i, or of a vector of elements from i on.
template <Scalar T, class Moments, class Apply>
[[gnu::always_inline]] inline void for_each_change(const AdamWStep<T>& s, T eps, T a, const T* g,
                                                   const Moments& moments, typename Moments::Offset size,
                                                   const Apply& apply) {
  using Offset = typename Moments::Offset;
  constexpr bool vectorised = std::same_as<T, float>;  // in double, std::sqrt may set errno
  Offset begin = 0;
  if constexpr (vectorised && has_quick_roots) {
    using S = Simd<T>;
    for (; begin + S::lanes <= size; begin += S::lanes) {
      typename S::Vector gradient, mean, square;
      S::load(gradient, g + begin);
      moments.load(begin, mean, square);
      gradient *= a;
      move_moments(s, gradient, mean, square);
      moments.store(begin, mean, square);
      square_roots(square);
      adamw_change(s, eps, mean, square);
      apply(begin, square);
    }
  }
#pragma omp simd if (vectorised)
  for (Offset i = begin; i < size; ++i) {
    T mean, square;
    moments.load(i, mean, square);
    move_moments(s, a * g[i], mean, square);
    moments.store(i, mean, square);
    T change = fast_sqrt(square);
    adamw_change(s, eps, mean, change);
    apply(i, change);
  }
}

/// Updates part of one expert, whose `moments` lie in the memory at `streams`.
template <Scalar T, class Moments, class... Elements>
[[gnu::always_inline]] inline void update_expert(T* p, const T* g, T a, const Moments& moments, Index size,
                                                 const AdamWStep<T>& step, const Elements*... streams) {
  const AdamWStep<T> s = step;
  const T eps = adamw_eps(s, a);
  const auto update_range = [=](Index begin, Index end) {
    T* first = p + begin;
    for_each_change(s, eps, a, g + begin, moments.from(begin),
                    static_cast<typename Moments::Offset>(end - begin),
                    [=]<class Number>(typename Moments::Offset i, const Number& change) {
                      Number value;
                      std::memcpy(&value, first + i, sizeof value);
                      value = s.keep * value - change;
                      std::memcpy(first + i, &value, sizeof value);
                    });
  };
  stream(size, update_range, p, g, streams...);
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
  detail::update_expert(p, g, a, detail::MomentArrays<T>{m, v}, size, step, m, v);
}

template <Scalar T>
void AdamW<T>::update_expert(T* p, const T* g, T a, std::uint32_t* moments, Index size,
                             const AdamWStep<T>& step, std::uint32_t seed) {
  detail::update_expert(p, g, a, detail::MomentWords{moments, seed}, size, step, moments);
}

template <Scalar T>
void AdamW<T>::update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* m, T* v,
                              Index size, const AdamWStep<T>& step) {
  const AdamWStep<T> s = step;
  std::array<T, stream_range> storage;
  T* change = storage.data();
  const auto update_range = [=](Index begin, Index end) {
    detail::for_each_change(
        s, s.eps, T{1}, g + begin, detail::MomentArrays<T>{m, v}.from(begin), end - begin,
        [&]<class Number>(Index i, const Number& value) { std::memcpy(change + i, &value, sizeof value); });
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
