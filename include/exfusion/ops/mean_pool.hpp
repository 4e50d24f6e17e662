#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/tokens.hpp>

namespace exfusion::ops {

template <Scalar T>
struct MeanPoolNode {
  static constexpr std::string_view name = "mean_pool";
  Tensor<T> x, y;
  Index first;

  void backward() const {
    const Index batch = x.shape()[0], width = x.shape()[2], size = x.shape()[1] * width;
    const Index pooled = x.shape()[1] - first;
    const GradientTarget<T> dx = x.open_gradient();
    if (!dx.accumulate && first > 0) {
      for (Index b = 0; b < batch; ++b) std::fill_n(dx.data + b * size, first * width, T{0});
    }
    kernels::Tokens<T>::spread(y.grad().data(), {dx.data + first * width, dx.accumulate}, size, batch, pooled,
                               width, T{1} / static_cast<T>(pooled));
  }
};

/// The mean over the tokens from `first` on: x [B, T, D] to y [B, D]. Throws ShapeError when x has not three
/// axes or no token is left.
template <Scalar T>
Tensor<T> mean_pool(const Context<T>& ctx, const Tensor<T>& x, Index first = 0) {
  const Shape& shape = x.shape();
  if (shape.rank() != 3) throw ShapeError("mean_pool", "x is ", shape, ": it must be [B, T, D]");
  if (first < 0 || first >= shape[1]) {
    throw ShapeError("mean_pool", "no token is left of x ", shape, " from token ", first, " on");
  }
  const Index width = shape[2], pooled = shape[1] - first;
  Tensor<T> y = ctx.output({shape[0], width}, x);
  kernels::Tokens<T>::sum_tokens(x.data() + first * width, shape[1] * width, {y.data(), false}, shape[0],
                                 pooled, width, T{1} / static_cast<T>(pooled));
  ctx.record(y, MeanPoolNode<T>{x, y, first});
  return y;
}

}  // namespace exfusion::ops
