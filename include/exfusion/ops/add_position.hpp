#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/add.hpp>
#include <exfusion/kernels/add_position.hpp>

namespace exfusion::ops {

template <Scalar T>
struct AddPositionNode {
  static constexpr std::string_view name = "add_position";
  Tensor<T> x, table, y;

  void backward() const {
    const T* dy = y.grad().data();
    const Shape& shape = x.shape();
    if (table.requires_grad()) {
      kernels::AddPosition<T>::backward_table(dy, table.open_gradient(), shape[0], shape[1], shape[2],
                                              table.shape()[0]);
    }
    if (!x.requires_grad() || y.gradient()->hand_over(*x.gradient())) return;
    kernels::Add<T>::backward(dy, x.open_gradient(), x.size());
  }
};

/// Adds row t of `table` to token t: x [B, T, D], table [P, D] with T <= P, to y [B, T, D]. Throws ShapeError
/// when the axes do not fit or the sequence is longer than the table.
template <Scalar T>
Tensor<T> add_position(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& table) {
  if (x.shape().rank() != 3) throw ShapeError("add_position", "x is ", x.shape(), ": it must be [B, T, D]");
  if (table.shape().rank() != 2 || table.shape()[1] != x.shape()[2]) {
    throw ShapeError("add_position", "table is ", table.shape(),
                     ": it must be [P, D] with D = ", x.shape()[2]);
  }
  if (x.shape()[1] > table.shape()[0]) {
    throw ShapeError("add_position", "x is ", x.shape(), ": its ", x.shape()[1],
                     " tokens are more than the table's ", table.shape()[0], " positions");
  }
  Tensor<T> y = ctx.output(x.shape(), x, table);
  kernels::AddPosition<T>::forward(x.data(), table.data(), y.data(), x.shape()[0], x.shape()[1],
                                   x.shape()[2]);
  ctx.record(y, AddPositionNode<T>{x, table, y});
  return y;
}

}  // namespace exfusion::ops
