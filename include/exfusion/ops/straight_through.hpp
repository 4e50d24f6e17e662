#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>

namespace exfusion::ops {

template <Scalar T>
struct StraightThroughNode {
  static constexpr std::string_view name = "straight_through";
  Tensor<T> x, y;

  void backward() const {
    const GradientTarget<T> dx = x.open_gradient();
    const T* dy = y.grad().data();
    for (Index i = 0; i < x.size(); ++i) dx.data[i] = dx.accumulate ? dx.data[i] + dy[i] : dy[i];
  }
};

/// y = value + x - stop(x): exactly `value` (a copy of it), with the gradient of x (Bengio et al., arXiv
/// 1308.3432). Both of any one shape. Throws ShapeError when the shapes differ.
template <Scalar T>
Tensor<T> straight_through(const Context<T>& ctx, const Tensor<T>& value, const Tensor<T>& x) {
  if (value.shape() != x.shape()) {
    throw ShapeError("straight_through", "value is ", value.shape(), ": it must have x's shape ", x.shape());
  }
  const Tensor<T> y = ctx.output(x.shape(), x);
  std::ranges::copy(value.values(), y.data());
  ctx.record(y, StraightThroughNode<T>{x, y});
  return y;
}

}  // namespace exfusion::ops
