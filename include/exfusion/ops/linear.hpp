#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/ops/check_linear.hpp>

namespace exfusion::ops {

template <Scalar T>
struct LinearNode {
  static constexpr std::string_view name = "linear";
  Tensor<T> x, weight, bias, y;
  Rounded rounded_x, rounded_weight;

  void backward() const {
    using kernels::dense_matrix, kernels::Gemm, kernels::Operand;
    const Index rows = y.shape().rows(), d_out = weight.shape()[0], d_in = weight.shape()[1];
    const RoundedGradient<T> rounded_dy(*y.gradient(), static_cast<bool>(rounded_weight), d_out,
                                        bias.open_gradient());
    const Operand<T> dy(y.grad().data(), rounded_dy.data(), rows, d_out);
    if (weight.requires_grad()) {
      const GradientTarget<T> dw = weight.open_gradient();
      Gemm<T>::multiply(dy.transposed(), {x.data(), rounded_x.data, rows, d_in},
                        dense_matrix(dw.data, d_out, d_in), dw.accumulate);
    }
    if (x.requires_grad()) {
      const GradientTarget<T> dx = x.open_gradient();
      Gemm<T>::multiply(dy, {weight.data(), rounded_weight.data, d_out, d_in},
                        dense_matrix(dx.data, rows, d_in), dx.accumulate);
    }
  }
};

/// y = x W^T + b: x [..., d_in], weight [d_out, d_in], bias [d_out] (or none) to y [..., d_out].
/// Throws ShapeError when the axes do not fit.
template <Scalar T>
Tensor<T> linear(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& weight,
                 const Tensor<T>& bias = {}) {
  check_linear("linear", x.shape(), weight, bias);
  const Index d_out = weight.shape()[0], d_in = weight.shape()[1];
  Tensor<T> y = ctx.output(x.shape().with_columns(d_out), x, weight, bias);
  const Index rows = x.shape().rows();
  const Rounded rounded_x = ctx.rounded(x), rounded_weight = ctx.rounded(weight);
  using kernels::Operand;
  kernels::Gemm<T>::multiply(Operand<T>(x.data(), rounded_x.data, rows, d_in),
                             Operand<T>(weight.data(), rounded_weight.data, d_out, d_in).transposed(),
                             kernels::dense_matrix(y.data(), rows, d_out), false, bias.data());
  ctx.record(y, LinearNode<T>{x, weight, bias, y, rounded_x, rounded_weight});
  return y;
}

}  // namespace exfusion::ops
