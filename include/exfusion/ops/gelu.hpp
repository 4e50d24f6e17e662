#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/gelu.hpp>

namespace exfusion::ops {

template <Scalar T>
struct GeluNode {
  static constexpr std::string_view name = "gelu";
  Tensor<T> x, y;
  Rounded rounded_x;
  GeluForm form;

  void backward() const {
    if (!x.requires_grad()) return;
    const T* dy = y.grad().data();
    if (rounded_x) {
      kernels::Gelu<T>::backward(rounded_x.data, dy, x.open_gradient(), x.size(), form);
    } else {
      kernels::Gelu<T>::backward(x.data(), dy, x.open_gradient(), x.size(), form);
    }
  }
};

/// GELU activation (arXiv 1606.08415), element by element: x of any shape to y of the same shape. In bf16
/// the backward pass reads a rounded copy of x.
template <Scalar T>
Tensor<T> gelu(const Context<T>& ctx, const Tensor<T>& x, GeluForm form) {
  Tensor<T> y = ctx.output(x.shape(), x);
  kernels::Gelu<T>::forward(x.data(), y.data(), x.size(), form);
  if (y.requires_grad()) ctx.record(y, GeluNode<T>{x, y, ctx.rounded(x), form});
  return y;
}

}  // namespace exfusion::ops
