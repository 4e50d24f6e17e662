#pragma once

#include <algorithm>
#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/sgd.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Sgd<T>::update(T* p, const T* g, T* buffer, Index size, const SgdStep<T>& step, Bfloat16* rounded) {
  parallel_for(size, 16384, [=, &step](Index begin, Index end) {
    update_expert(p + begin, g + begin, T{1}, buffer == nullptr ? nullptr : buffer + begin, end - begin,
                  step);
    if (rounded != nullptr) Round<T>::to_bfloat16_serial(p + begin, rounded + begin, end - begin);
  });
}

template <Scalar T>
void Sgd<T>::update_expert(T* p, const T* g, T a, T* buffer, Index size, const SgdStep<T>& step) {
  const SgdStep<T> s = step;
  if (buffer == nullptr) {
#pragma omp simd
    for (Index i = 0; i < size; ++i) p[i] -= s.rate * (a * g[i] + s.decay * p[i]);
    return;
  }
  const T from_gradient = s.nesterov ? s.rate : T{0};
  const T from_buffer = s.nesterov ? s.rate * s.momentum : s.rate;
#pragma omp simd
  for (Index i = 0; i < size; ++i) {
    const T gradient = a * g[i] + s.decay * p[i];
    buffer[i] = s.momentum * buffer[i] + gradient;
    p[i] -= from_gradient * gradient + from_buffer * buffer[i];
  }
}

template <Scalar T>
void Sgd<T>::update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* buffer, Index size,
                            const SgdStep<T>& step) {
  constexpr Index block = 128;  // small, so that the fetching of all rows overlaps
  const SgdStep<T> s = step;
  const T from_gradient = s.nesterov ? s.rate : T{0};
  const T from_buffer = s.nesterov ? s.rate * s.momentum : s.rate;
  std::array<T, block> storage;
  T* change = storage.data();
  for (Index begin = 0; begin < size; begin += block) {
    const Index count = std::min(block, size - begin);
    const T* gradient = g + begin;
    T* common = buffer + begin;
#pragma omp simd
    for (Index i = 0; i < count; ++i) {
      common[i] = s.momentum * common[i] + gradient[i];
      change[i] = from_gradient * gradient[i] + from_buffer * common[i];
    }
    for (Index expert = 0; expert < experts; ++expert) {
      const T factor = a[expert];
      T* row = p + expert * stride + begin;
#pragma omp simd
      for (Index i = 0; i < count; ++i) row[i] -= factor * change[i];
    }
  }
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Sgd);
