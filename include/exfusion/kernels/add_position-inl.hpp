#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/add_position.hpp>
#include <exfusion/kernels/elementwise.hpp>

namespace exfusion::kernels {

template <Scalar T>
void AddPosition<T>::forward(const T* x, const T* table, T* y, Index batch, Index tokens, Index width) {
  parallel_for(batch * tokens, rows_grain(width), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const T* from = x + row * width;
      const T* position = table + row % tokens * width;
      write<T>({y + row * width, false}, 0, width, [=](Index i) { return from[i] + position[i]; });
    }
  });
}

template <Scalar T>
void AddPosition<T>::backward_table(const T* dy, GradientTarget<T> dtable, Index batch, Index tokens,
                                    Index width, Index positions) {
  const Index size = tokens * width;
  parallel_for(size, elementwise_grain / 16, [=](Index begin, Index end) {
    for (Index b = 0; b < batch; ++b) {
      const T* from = dy + b * size;
      write<T>({dtable.data, dtable.accumulate || b > 0}, begin, end, [=](Index i) { return from[i]; });
    }
  });
  const Index first_unused = batch > 0 ? size : 0;
  if (!dtable.accumulate) std::fill(dtable.data + first_unused, dtable.data + positions * width, T{0});
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::AddPosition);
