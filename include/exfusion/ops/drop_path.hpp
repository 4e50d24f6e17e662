#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/drop_path.hpp>

namespace exfusion::ops {

template <Scalar T>
struct DropPathNode {
  static constexpr std::string_view name = "drop_path";
  Tensor<T> x, y;
  double p;
  Rng::State fates;

  void backward() const {
    const Index samples = x.shape()[0];
    kernels::DropPath<T>::apply(y.grad().data(), x.open_gradient(), samples,
                                x.size() / std::max<Index>(samples, 1), p, fates);
  }
};

/// Sets whole samples to zero with probability p and multiplies the others by 1 / (1 - p) (stochastic depth,
/// arXiv 1603.09382): x [B, ...] to y of the same shape. Returns x itself when p is 0 or the context is not
/// in training. Throws ConfigError when p is outside [0, 1), or in training when the context has no
/// generator, ShapeError when x is a single number.
template <Scalar T>
Tensor<T> drop_path(const Context<T>& ctx, const Tensor<T>& x, double p) {
  if (!(p >= 0 && p < 1)) throw ConfigError("drop_path", "p is ", p, ": it must lie in [0, 1)");
  if (x.shape().rank() == 0) throw ShapeError("drop_path", "x is a single number: it must be [B, ...]");
  if (!ctx.training || p == 0) return x;
  const Index samples = x.shape()[0];
  const Rng::State fates = ctx.random("drop_path").reserve(samples);
  Tensor<T> y = ctx.output(x.shape(), x);
  kernels::DropPath<T>::apply(x.data(), {y.data(), false}, samples, x.size() / std::max<Index>(samples, 1), p,
                              fates);
  ctx.record(y, DropPathNode<T>{x, y, p, fates});
  return y;
}

}  // namespace exfusion::ops
