#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/dropout.hpp>

namespace exfusion::ops {

template <Scalar T>
struct DropoutNode {
  static constexpr std::string_view name = "dropout";
  Tensor<T> x, y;
  double p;
  Rng::State mask;

  void backward() const { kernels::Dropout<T>::apply(y.grad().data(), x.open_gradient(), x.size(), p, mask); }
};

/// Sets each element to zero with probability p and multiplies the others by 1 / (1 - p) (Srivastava et al.,
/// JMLR 2014): x of any shape to y of the same shape. Returns x itself when p is 0 or the context is not in
/// training. Throws ConfigError when p is outside [0, 1), or in training when the context has no generator.
template <Scalar T>
Tensor<T> dropout(const Context<T>& ctx, const Tensor<T>& x, double p) {
  if (!(p >= 0 && p < 1)) throw ConfigError("dropout", "p is ", p, ": it must lie in [0, 1)");
  if (!ctx.training || p == 0) return x;
  const Rng::State mask = ctx.random("dropout").reserve(kernels::Dropout<T>::counters(x.size()));
  Tensor<T> y = ctx.output(x.shape(), x);
  kernels::Dropout<T>::apply(x.data(), {y.data(), false}, x.size(), p, mask);
  ctx.record(y, DropoutNode<T>{x, y, p, mask});
  return y;
}

}  // namespace exfusion::ops
