#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/swiglu.hpp>

namespace exfusion::ops {

template <Scalar T>
struct SwigluNode {
  static constexpr std::string_view name = "swiglu";
  Tensor<T> gate, up, y;

  void backward() const {
    const GradientTarget<T> dgate = gate.open_gradient();
    const GradientTarget<T> dup = up.open_gradient();
    kernels::Swiglu<T>::backward(gate.data(), up.data(), y.grad().data(), dgate, dup, y.size());
  }
};

/// y = silu(gate) * up, element by element (Shazeer, arXiv 2002.05202): gate, up of the same shape to y of
/// that shape. Throws ShapeError when the shapes differ.
template <Scalar T>
Tensor<T> swiglu(const Context<T>& ctx, const Tensor<T>& gate, const Tensor<T>& up) {
  if (gate.shape() != up.shape()) {
    throw ShapeError("swiglu", "gate is ", gate.shape(), " and up is ", up.shape(),
                     ": they must have one shape");
  }
  Tensor<T> y = ctx.output(gate.shape(), gate, up);
  kernels::Swiglu<T>::forward(gate.data(), up.data(), y.data(), y.size());
  ctx.record(y, SwigluNode<T>{gate, up, y});
  return y;
}

}  // namespace exfusion::ops
