#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/tokens.hpp>

namespace exfusion::ops {

template <Scalar T>
struct SelectTokenNode {
  static constexpr std::string_view name = "select_token";
  Tensor<T> x, y;
  Index index;

  void backward() const {
    const Index width = x.shape()[2];
    const GradientTarget<T> dx = x.open_gradient();
    if (!dx.accumulate) std::fill_n(dx.data, x.size(), T{0});
    kernels::Tokens<T>::copy_blocks(y.grad().data(), width, {dx.data + index * width, true},
                                    x.shape()[1] * width, x.shape()[0], width);
  }
};

/// Token `index` of every sequence: x [B, T, D] to y [B, D]. Throws ShapeError when x has not three axes or
/// no such token.
template <Scalar T>
Tensor<T> select_token(const Context<T>& ctx, const Tensor<T>& x, Index index) {
  const Shape& shape = x.shape();
  if (shape.rank() != 3) throw ShapeError("select_token", "x is ", shape, ": it must be [B, T, D]");
  if (index < 0 || index >= shape[1]) {
    throw ShapeError("select_token", "token ", index, " does not exist in x ", shape, " of ", shape[1],
                     " tokens");
  }
  const Index width = shape[2];
  Tensor<T> y = ctx.output({shape[0], width}, x);
  kernels::Tokens<T>::copy_blocks(x.data() + index * width, shape[1] * width, {y.data(), false}, width,
                                  shape[0], width);
  ctx.record(y, SelectTokenNode<T>{x, y, index});
  return y;
}

}  // namespace exfusion::ops
