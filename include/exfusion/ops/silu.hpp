#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/silu.hpp>

namespace exfusion::ops {

template <Scalar T>
struct SiluNode {
  static constexpr std::string_view name = "silu";
  Tensor<T> x, y;

  void backward() const {
    kernels::Silu<T>::backward(x.data(), y.grad().data(), x.open_gradient(), x.size());
  }
};

/// SiLU activation y = x / (1 + e^-x) (arXiv 1606.08415), element by element: x of any shape to y of the same
/// shape.
template <Scalar T>
Tensor<T> silu(const Context<T>& ctx, const Tensor<T>& x) {
  Tensor<T> y = ctx.output(x.shape(), x);
  kernels::Silu<T>::forward(x.data(), y.data(), x.size());
  ctx.record(y, SiluNode<T>{x, y});
  return y;
}

}  // namespace exfusion::ops
