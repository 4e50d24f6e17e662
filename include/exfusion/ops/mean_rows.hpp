#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/mean_rows.hpp>

namespace exfusion::ops {

template <Scalar T>
struct MeanRowsNode {
  static constexpr std::string_view name = "mean_rows";
  Tensor<T> x, y;

  void backward() const {
    kernels::MeanRows<T>::backward(y.grad().data(), x.shape().rows(), x.shape().columns(), x.open_gradient());
  }
};

/// The mean over all axes but the last: x [..., D] to y [D]. Throws ShapeError when x has no rows.
template <Scalar T>
Tensor<T> mean_rows(const Context<T>& ctx, const Tensor<T>& x) {
  if (x.shape().rank() < 1 || x.shape().rows() == 0) {
    throw ShapeError("mean_rows", "x is ", x.shape(), ": it has no rows");
  }
  Tensor<T> y = ctx.output({x.shape().columns()}, x);
  kernels::MeanRows<T>::forward(x.data(), x.shape().rows(), x.shape().columns(), y.data());
  ctx.record(y, MeanRowsNode<T>{x, y});
  return y;
}

}  // namespace exfusion::ops
