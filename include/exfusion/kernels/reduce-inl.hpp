#pragma once

#include <array>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Reduce<T>::sum_rows(const T* x, Index rows, Index columns, T scale, GradientTarget<T> sum) {
  constexpr Index block = 64;  // columns a thread sums at a time, in registers and in cache-line steps
  parallel_for(columns, block, [=](Index begin, Index end) {
    std::array<T, block> total{};
    for (Index row = 0; row < rows; ++row) {
      for (Index c = begin; c < end; ++c) total[static_cast<std::size_t>(c - begin)] += x[row * columns + c];
    }
    for (Index c = begin; c < end; ++c) {
      const T value = scale * total[static_cast<std::size_t>(c - begin)];
      sum.data[c] = sum.accumulate ? sum.data[c] + value : value;
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Reduce);
