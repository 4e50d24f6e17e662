#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/rms_norm.hpp>

namespace exfusion::ops {

template <Scalar T>
struct RmsNormNode {
  static constexpr std::string_view name = "rms_norm";
  Tensor<T> x, weight, y, inverse_rms, scratch;

  void backward() const {
    const GradientTarget<T> dx = x.open_gradient();
    const GradientTarget<T> dweight = weight.open_gradient();
    kernels::RmsNorm<T>::backward(x.data(), weight.data(), inverse_rms.data(), y.grad().data(),
                                  x.shape().rows(), x.shape().columns(), dx, dweight, scratch.data());
  }
};

/// y = x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich, arXiv 1910.07467): x [...,
/// D], weight [D] to y [..., D]. Throws ShapeError when the axes do not fit or D is 0.
template <Scalar T>
Tensor<T> rms_norm(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& weight, double eps) {
  if (x.shape().rank() < 1 || x.shape()[-1] == 0) {
    throw ShapeError("rms_norm", "x is ", x.shape(), ": its last axis must have elements to normalise");
  }
  const Index rows = x.shape().rows(), width = x.shape()[-1];
  if (weight.shape() != Shape{width}) {
    throw ShapeError("rms_norm", "weight is ", weight.shape(), ": it must be [D] = ", Shape{width});
  }
  Tensor<T> y = ctx.output(x.shape(), x, weight);
  const Tensor<T> inverse_rms = ctx.saved({rows});
  kernels::RmsNorm<T>::forward(x.data(), weight.data(), rows, width, static_cast<T>(eps), y.data(),
                               inverse_rms.data());
  if (!y.requires_grad()) return y;
  const Tensor<T> scratch = ctx.saved({kernels::RmsNorm<T>::scratch_size(rows, width)});
  ctx.record(y, RmsNormNode<T>{x, weight, y, inverse_rms, scratch});
  return y;
}

}  // namespace exfusion::ops
