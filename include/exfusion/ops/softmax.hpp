#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/softmax.hpp>

namespace exfusion::ops {

template <Scalar T>
struct SoftmaxNode {
  static constexpr std::string_view name = "softmax";
  Tensor<T> z, p;

  void backward() const {
    kernels::Softmax<T>::backward(p.data(), p.grad().data(), p.shape().rows(), p.shape().columns(),
                                  z.open_gradient());
  }
};

/// p = e^z / sum e^z over the last axis: z [..., n] to p of the same shape. Throws ShapeError when that axis
/// does not exist or is empty.
template <Scalar T>
Tensor<T> softmax(const Context<T>& ctx, const Tensor<T>& z) {
  if (z.shape().rank() < 1 || z.shape()[-1] == 0) {
    throw ShapeError("softmax", "z is ", z.shape(), ": its last axis must have elements");
  }
  Tensor<T> p = ctx.output(z.shape(), z);
  kernels::Softmax<T>::forward(z.data(), z.shape().rows(), z.shape().columns(), p.data());
  ctx.record(p, SoftmaxNode<T>{z, p});
  return p;
}

}  // namespace exfusion::ops
