#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/norm.hpp>

namespace exfusion::kernels {

template <Scalar T>
double Norm<T>::sum_of_squares(const T* x, Index size) {
  return parallel_sum(size, [x](Index begin, Index end) {
    constexpr Index streams = 4;  // places read at once: one alone leaves bandwidth unused
    constexpr Index lanes = 8;
    const Index length = (end - begin) / (streams * lanes) * lanes;
    double total[streams][lanes] = {};
    for (Index i = begin; i < begin + length; i += lanes) {
      for (Index stream = 0; stream < streams; ++stream) {
#pragma omp simd
        for (Index lane = 0; lane < lanes; ++lane) {
          const auto value = static_cast<double>(x[i + stream * length + lane]);
          total[stream][lane] += value * value;
        }
      }
    }
    double sum = 0;
    for (Index i = begin + streams * length; i < end; ++i) {
      sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    for (const auto& stream : total) {
      for (double part : stream) sum += part;
    }
    return sum;
  });
}

template <Scalar T>
void Norm<T>::scale(T* x, Index size, T factor) {
  parallel_for(size, 16384, [=](Index begin, Index end) {
#pragma omp simd
    for (Index i = begin; i < end; ++i) x[i] *= factor;
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Norm);
