#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/tokens.hpp>

namespace exfusion::ops {

template <Scalar T>
struct PrependTokenNode {
  static constexpr std::string_view name = "prepend_token";
  Tensor<T> x, token, y, first_gradients;

  void backward() const {
    using kernels::Tokens;
    const Index batch = x.shape()[0], width = x.shape()[2], size = x.shape()[1] * width;
    const T* dy = y.grad().data();
    if (x.requires_grad()) {
      Tokens<T>::copy_blocks(dy + width, size + width, x.open_gradient(), size, batch, size);
    }
    if (token.requires_grad()) {
      Tokens<T>::copy_blocks(dy, size + width, {first_gradients.data(), false}, width, batch, width);
      kernels::Reduce<T>::sum_rows(first_gradients.data(), batch, width, T{1}, token.open_gradient());
    }
  }
};

/// Puts `token` [D] before the tokens of every sequence: x [B, N, D] to y [B, N + 1, D]. Throws ShapeError
/// when the axes do not fit.
template <Scalar T>
Tensor<T> prepend_token(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& token) {
  const Shape& shape = x.shape();
  if (shape.rank() != 3) throw ShapeError("prepend_token", "x is ", shape, ": it must be [B, N, D]");
  if (token.shape() != Shape{shape[2]}) {
    throw ShapeError("prepend_token", "token is ", token.shape(), ": it must be [D] = ", Shape{shape[2]});
  }
  using kernels::Tokens;
  const Index batch = shape[0], width = shape[2], size = shape[1] * width;
  Tensor<T> y = ctx.output({batch, shape[1] + 1, width}, x, token);
  Tokens<T>::copy_blocks(token.data(), 0, {y.data(), false}, size + width, batch, width);
  Tokens<T>::copy_blocks(x.data(), size, {y.data() + width, false}, size + width, batch, size);
  ctx.record(y, PrependTokenNode<T>{x, token, y, ctx.saved({batch, width})});
  return y;
}

}  // namespace exfusion::ops
