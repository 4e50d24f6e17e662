#pragma once

#include <algorithm>
#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/prefetch.hpp>
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
    const auto update_range = [=](Index begin, Index end) {
#pragma omp simd
      for (Index i = begin; i < end; ++i) p[i] -= s.rate * (a * g[i] + s.decay * p[i]);
    };
    return stream(size, update_range, p, g);
  }
  const T from_gradient = s.nesterov ? s.rate : T{0};
  const T from_buffer = s.nesterov ? s.rate * s.momentum : s.rate;
  const auto update_range = [=](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) {
      const T gradient = a * g[i] + s.decay * p[i];
      buffer[i] = s.momentum * buffer[i] + gradient;
      p[i] -= from_gradient * gradient + from_buffer * buffer[i];
    }
  };
  stream(size, update_range, p, g, buffer);
}

template <Scalar T>
void Sgd<T>::update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* buffer, Index size,
                            const SgdStep<T>& step) {
  const SgdStep<T> s = step;
  const T from_gradient = s.nesterov ? s.rate : T{0};
  const T from_buffer = s.nesterov ? s.rate * s.momentum : s.rate;
  std::array<T, stream_range> storage;
  T* change = storage.data();
  const auto update_range = [=](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) {
      buffer[i] = s.momentum * buffer[i] + g[i];
      change[i - begin] = from_gradient * g[i] + from_buffer * buffer[i];
    }
    for (Index expert = 0; expert < experts; ++expert) {
      const T factor = a[expert];
      T* row = p + expert * stride;
      prefetch_ahead(row + begin, end - begin);
#pragma omp simd
      for (Index i = begin; i < end; ++i) row[i] -= factor * change[i - begin];
    }
  };
  stream(size, update_range, g, buffer);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Sgd);
