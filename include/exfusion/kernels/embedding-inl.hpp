#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/embedding.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Embedding<T>::forward(const std::int32_t* ids, Index count, const T* weight, Index width, T* y) {
  parallel_for(count, rows_grain(width), [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) std::copy_n(weight + ids[i] * width, width, y + i * width);
  });
}

template <Scalar T>
void Embedding<T>::backward(const std::int32_t* ids, Index count, const T* dy, Index width, Index vocab_size,
                            GradientTarget<T> dweight) {
  if (!dweight.accumulate) {
    parallel_for(vocab_size * width, elementwise_grain,
                 [=](Index begin, Index end) { std::fill(dweight.data + begin, dweight.data + end, T{0}); });
  }
  constexpr Index block = 64;  // columns: threads never meet in an element, and each sees the ids in order
  parallel_for(width, block, [=](Index begin, Index end) {
    for (Index i = 0; i < count; ++i) {
      const T* from = dy + i * width;
      write<T>({dweight.data + ids[i] * width, true}, begin, end, [=](Index c) { return from[c]; });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Embedding);
