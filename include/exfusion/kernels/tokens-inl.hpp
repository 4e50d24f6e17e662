#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/tokens.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Tokens<T>::copy_blocks(const T* from, Index from_stride, GradientTarget<T> to, Index to_stride,
                            Index batch, Index size) {
  parallel_for(batch, rows_grain(size), [=](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      const T* block = from + b * from_stride;
      write<T>({to.data + b * to_stride, to.accumulate}, 0, size, [=](Index i) { return block[i]; });
    }
  });
}

template <Scalar T>
void Tokens<T>::sum_tokens(const T* x, Index x_stride, GradientTarget<T> y, Index batch, Index tokens,
                           Index width, T scale) {
  parallel_for(batch, rows_grain(tokens * width), [=](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      for (Index t = 0; t < tokens; ++t) {
        const T* token = x + b * x_stride + t * width;
        write<T>({y.data + b * width, y.accumulate || t > 0}, 0, width,
                 [=](Index i) { return scale * token[i]; });
      }
    }
  });
}

template <Scalar T>
void Tokens<T>::spread(const T* y, GradientTarget<T> x, Index x_stride, Index batch, Index tokens,
                       Index width, T scale) {
  parallel_for(batch, rows_grain(tokens * width), [=](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      const T* from = y + b * width;
      for (Index t = 0; t < tokens; ++t) {
        write<T>({x.data + b * x_stride + t * width, x.accumulate}, 0, width,
                 [=](Index i) { return scale * from[i]; });
      }
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Tokens);
