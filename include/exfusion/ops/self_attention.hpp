#pragma once

#include <string_view>
#include <utility>

#include <exfusion/autograd/context.hpp>
#include <exfusion/core/arena.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/ops/attention.hpp>
#include <exfusion/ops/check_linear.hpp>
#include <exfusion/ops/linear.hpp>

namespace exfusion::ops {

/// In bf16: what lies between the two linear operations exists rounded only.
template <Scalar T>
struct SelfAttentionNode {
  static constexpr std::string_view name = "self_attention";
  Tensor<T> x, qkv_weight, qkv_bias, projection_weight, projection_bias, y;
  Rounded rounded_x, rounded_qkv, rounded_projection;
  kernels::AttentionSizes sizes;
  Bfloat16* qkv = nullptr;       ///< [B, T, 3D]
  Bfloat16* attended = nullptr;  ///< [B, T, D]
  T* log_sum_exp = nullptr;      ///< [B, H, T]; null unless there is a backward pass.

  Index rows() const { return x.shape().rows(); }
  Index d_in() const { return qkv_weight.shape()[1]; }
  Index d_model() const { return sizes.d_model(); }
  Index d_out() const { return projection_weight.shape()[0]; }

  void forward() const {
    Gemm::multiply_rounded(x_matrix(), qkv_matrix().transposed(),
                           kernels::dense_matrix(qkv, rows(), 3 * d_model()), qkv_bias.data());
    kernels::Attention<T>::forward(qkv, attended, log_sum_exp, sizes);
    Gemm::multiply(rounded(attended, d_model()), projection_matrix().transposed(),
                   kernels::dense_matrix(y.data(), rows(), d_out()), false, projection_bias.data());
  }

  void backward() const {
    Arena* arena = y.gradient()->arena;
    const TemporaryArray<Bfloat16> dqkv(arena, reaches_qkv() ? rows() * 3 * d_model() : 0);
    backward_of_projection(arena, dqkv.data());
    if (reaches_qkv()) backward_of_qkv(dqkv.data());
  }

 private:
  using Gemm = kernels::Gemm<T>;
  using Operand = kernels::Operand<T>;

  bool reaches_qkv() const {
    return x.requires_grad() || qkv_weight.requires_grad() || qkv_bias.requires_grad();
  }

  // And of attention, if its gradient is wanted.
  void backward_of_projection(Arena* arena, Bfloat16* dqkv) const {
    const RoundedGradient<T> rounded_dy(*y.gradient(), true, d_out(), projection_bias.open_gradient());
    const Operand dy = rounded(rounded_dy.data(), d_out());
    multiply_into(projection_weight, dy.transposed(), rounded(attended, d_model()));
    if (!reaches_qkv()) return;
    const TemporaryArray<Bfloat16> dattended(arena, rows() * d_model());
    Gemm::multiply_rounded(dy, projection_matrix(),
                           kernels::dense_matrix(dattended.data(), rows(), d_model()));
    kernels::Attention<T>::backward(qkv, attended, log_sum_exp, dattended.data(), dqkv, sizes);
  }

  void backward_of_qkv(const Bfloat16* dqkv) const {
    if (const GradientTarget<T> bias = qkv_bias.open_gradient(); bias.data != nullptr)
      kernels::Reduce<T>::sum_rows(dqkv, rows(), 3 * d_model(), bias);
    const Operand gradient = rounded(dqkv, 3 * d_model());
    multiply_into(qkv_weight, gradient.transposed(), x_matrix());
    multiply_into(x, gradient, qkv_matrix());
  }

  Operand rounded(const Bfloat16* values, Index columns) const { return {nullptr, values, rows(), columns}; }
  Operand x_matrix() const { return rounded(rounded_x.data, d_in()); }
  Operand qkv_matrix() const { return {nullptr, rounded_qkv.data, 3 * d_model(), d_in()}; }
  Operand projection_matrix() const { return {nullptr, rounded_projection.data, d_out(), d_model()}; }

  static void multiply_into(const Tensor<T>& tensor, const Operand& a, const Operand& b) {
    if (!tensor.requires_grad()) return;
    const GradientTarget<T> target = tensor.open_gradient();
    Gemm::multiply(a, b, kernels::dense_matrix(target.data, a.rounded.rows, b.rounded.columns),
                   target.accumulate);
  }
};

/// `attention` between two linear operations: x [B, T, d_in], qkv_weight [3D, d_in], qkv_bias [3D],
/// projection_weight [d_out, D], projection_bias [d_out] (either bias may be none) to y [B, T, d_out]. In
/// fp32 it is these three; in bf16 queries, keys, values and attention's result, and the gradients of all of
/// them, are rounded by what computes them and never exist in full precision. Throws ShapeError when the axes
/// do not fit or d_head is over 256; ConfigError when `n_heads` does not divide D.
template <Scalar T>
Tensor<T> self_attention(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& qkv_weight,
                         const Tensor<T>& qkv_bias, const Tensor<T>& projection_weight,
                         const Tensor<T>& projection_bias, Index n_heads, bool causal) {
  constexpr std::string_view operation = "self_attention";
  if (x.shape().rank() != 3) {
    throw ShapeError(operation, "x is ", x.shape(), ": it must be [B, T, d_in]");
  }
  check_linear(operation, x.shape(), qkv_weight, qkv_bias);
  const Shape qkv_shape = x.shape().with_columns(qkv_weight.shape()[0]);
  const kernels::AttentionSizes sizes = attention_sizes(qkv_shape, n_heads, causal);
  const Shape attended_shape = x.shape().with_columns(sizes.d_model());
  if (const Shape& weight = projection_weight.shape(); weight.rank() == 2 && weight[1] != sizes.d_model()) {
    throw ShapeError(operation, "projection_weight is ", weight,
                     ": it must be [d_out, D] with D = ", sizes.d_model());
  }
  check_linear(operation, attended_shape, projection_weight, projection_bias);
  if (ctx.precision == Precision::fp32) {
    const Tensor<T> qkv = linear(ctx, x, qkv_weight, qkv_bias);
    return linear(ctx, attention(ctx, qkv, n_heads, causal), projection_weight, projection_bias);
  }

  const Tensor<T> y = ctx.output(x.shape().with_columns(projection_weight.shape()[0]), x, qkv_weight,
                                 qkv_bias, projection_weight, projection_bias);
  Arena* arena = ctx.tape == nullptr ? nullptr : &ctx.tape->arena();
  const bool keeps = y.requires_grad();
  const TemporaryArray<Bfloat16> qkv(arena, keeps ? 0 : qkv_shape.size()),
      attended(arena, keeps ? 0 : attended_shape.size());
  SelfAttentionNode<T> node{
      x,
      qkv_weight,
      qkv_bias,
      projection_weight,
      projection_bias,
      y,
      ctx.rounded(x),
      ctx.rounded(qkv_weight),
      ctx.rounded(projection_weight),
      sizes,
      keeps ? arena->allocate_array<Bfloat16>(qkv_shape.size()) : qkv.data(),
      keeps ? arena->allocate_array<Bfloat16>(attended_shape.size()) : attended.data(),
      keeps ? arena->allocate_array<T>(sizes.batch * sizes.heads * sizes.tokens) : nullptr};
  node.forward();
  ctx.record(y, std::move(node));
  return y;
}

}  // namespace exfusion::ops
