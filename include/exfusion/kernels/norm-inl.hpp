#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/norm.hpp>

namespace exfusion::kernels {

template <Scalar T>
double Norm<T>::sum_of_squares(const T* x, Index size) {
  return parallel_sum(size, [x](Index begin, Index end) {
    constexpr Index lanes = 16;  // independent sums hide the latency of the additions
    double total[lanes] = {};
    Index i = begin;
    for (; i + lanes <= end; i += lanes) {
#pragma omp simd
      for (Index lane = 0; lane < lanes; ++lane) {
        const auto value = static_cast<double>(x[i + lane]);
        total[lane] += value * value;
      }
    }
    double sum = 0;
    for (; i < end; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    for (double part : total) sum += part;
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
