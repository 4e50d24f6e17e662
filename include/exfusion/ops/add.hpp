#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/add.hpp>

namespace exfusion::ops {

template <Scalar T>
struct AddNode {
  static constexpr std::string_view name = "add";
  Tensor<T> a, b, y;

  // b first, so that a can have the memory of y's gradient itself: in a residual stream nobody has written to
  // a's gradient yet.
  void backward() const {
    if (b.requires_grad()) kernels::Add<T>::backward(y.grad().data(), b.open_gradient(), y.size());
    if (!a.requires_grad() || y.gradient()->hand_over(*a.gradient())) return;
    kernels::Add<T>::backward(y.grad().data(), a.open_gradient(), y.size());
  }
};

/// y = a + b, element by element: a, b of the same shape to y of that shape. Throws ShapeError when the
/// shapes differ.
template <Scalar T>
Tensor<T> add(const Context<T>& ctx, const Tensor<T>& a, const Tensor<T>& b) {
  if (a.shape() != b.shape()) {
    throw ShapeError("add", "a is ", a.shape(), " and b is ", b.shape(), ": they must have one shape");
  }
  Tensor<T> y = ctx.output(a.shape(), a, b);
  kernels::Add<T>::forward(a.data(), b.data(), y.data(), y.size());
  ctx.record(y, AddNode<T>{a, b, y});
  return y;
}

}  // namespace exfusion::ops
