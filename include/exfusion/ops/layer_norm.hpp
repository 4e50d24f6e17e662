#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/layer_norm.hpp>

namespace exfusion::ops {

template <Scalar T>
struct LayerNormNode {
  static constexpr std::string_view name = "layer_norm";
  Tensor<T> x, weight, bias, y, mean, inverse_std, scratch;

  void backward() const {
    kernels::LayerNormGradients<T> gradients{x.open_gradient(), weight.open_gradient(), bias.open_gradient()};
    kernels::LayerNorm<T>::backward(x.data(), weight.data(), mean.data(), inverse_std.data(), y.grad().data(),
                                    x.shape().rows(), x.shape().columns(), gradients, scratch.data());
  }
};

/// y = (x - mean) / sqrt(variance + eps) * weight + bias over the last axis, the variance that of all D
/// elements (Ba, Kiros, Hinton, arXiv 1607.06450): x [..., D], weight, bias [D] to y [..., D]. Throws
/// ShapeError when the axes do not fit or D is 0.
template <Scalar T>
Tensor<T> layer_norm(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& weight,
                     const Tensor<T>& bias, double eps) {
  if (x.shape().rank() < 1 || x.shape()[-1] == 0) {
    throw ShapeError("layer_norm", "x is ", x.shape(), ": its last axis must have elements to normalise");
  }
  const Index rows = x.shape().rows(), width = x.shape()[-1];
  if (weight.shape() != Shape{width}) {
    throw ShapeError("layer_norm", "weight is ", weight.shape(), ": it must be [D] = ", Shape{width});
  }
  if (bias.shape() != Shape{width}) {
    throw ShapeError("layer_norm", "bias is ", bias.shape(), ": it must be [D] = ", Shape{width});
  }
  Tensor<T> y = ctx.output(x.shape(), x, weight, bias);
  const Tensor<T> mean = ctx.saved({rows}), inverse_std = ctx.saved({rows});
  kernels::LayerNorm<T>::forward(x.data(), weight.data(), bias.data(), rows, width, static_cast<T>(eps),
                                 y.data(), mean.data(), inverse_std.data());
  if (!y.requires_grad()) return y;
  const Tensor<T> scratch = ctx.saved({kernels::LayerNorm<T>::scratch_size(rows, width)});
  ctx.record(y, LayerNormNode<T>{x, weight, bias, y, mean, inverse_std, scratch});
  return y;
}

}  // namespace exfusion::ops
