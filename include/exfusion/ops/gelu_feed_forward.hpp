#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/ops/check_linear.hpp>

namespace exfusion::ops {

/// Rows of the blocks that `gelu_feed_forward` cuts so many rows into: equal parts of at most 2048, so that
/// their memory stays small and the weights, which products pack anew for each, need not be packed often.
inline Index feed_forward_block(Index rows) {
  constexpr Index most = 2048;
  const Index blocks = std::max<Index>((rows + most - 1) / most, 1);
  return std::max<Index>((rows + blocks - 1) / blocks, 1);
}

/// Two matrices with GELU between them, in blocks of rows: beside GELU's argument, hidden numbers and their
/// gradient exist for one block at a time only.
template <Scalar T>
struct GeluFeedForwardNode {
  static constexpr std::string_view name = "gelu_feed_forward";
  Tensor<T> x, up_weight, up_bias, down_weight, down_bias, y;
  Rounded rounded_x, rounded_up, rounded_down;
  GeluForm form;
  Tensor<T> hidden = {};               ///< Before GELU [rows, F], in full precision.
  Bfloat16* rounded_hidden = nullptr;  ///< The same in bf16.

  Index rows() const { return x.shape().rows(); }
  Index d_model() const { return up_weight.shape()[1]; }
  Index d_ff() const { return up_weight.shape()[0]; }
  bool rounds() const { return static_cast<bool>(rounded_x); }

  /// Calls `body(begin, count)` for equal blocks of rows, at least for an empty one.
  template <class Body>
  void for_each_block(const Body& body) const {
    const Index size = block_rows();
    for (Index begin = 0; begin == 0 || begin < rows(); begin += size)
      body(begin, std::min(size, rows() - begin));
  }

  void forward(Arena* arena) const {
    const Index block = block_rows() * d_ff();
    const TemporaryArray<T> before(arena, rounds() || hidden ? 0 : block), after(arena, rounds() ? 0 : block);
    const TemporaryArray<Bfloat16> rounded_before(arena, rounds() && rounded_hidden == nullptr ? block : 0),
        rounded_after(arena, rounds() ? block : 0);
    for_each_block([&](Index begin, Index count) {
      const Operand x_block = x_matrix().rows_from(begin, count);
      if (rounds()) {
        Bfloat16* h = rounded_hidden == nullptr ? rounded_before.data() : rounded_hidden + begin * d_ff();
        kernels::Gemm<T>::multiply_rounded(x_block, up().transposed(),
                                           kernels::dense_matrix(h, count, d_ff()), up_bias.data());
        kernels::Gelu<T>::forward(h, rounded_after.data(), count * d_ff(), form);
      } else {
        T* h = hidden ? hidden.data() + begin * d_ff() : before.data();
        kernels::Gemm<T>::multiply(x_block, up().transposed(), kernels::dense_matrix(h, count, d_ff()), false,
                                   up_bias.data());
        kernels::Gelu<T>::forward(h, after.data(), count * d_ff(), form);
      }
      const Operand g(after.data(), rounded_after.data(), count, d_ff());
      kernels::Gemm<T>::multiply(g, down().transposed(),
                                 kernels::dense_matrix(y.data() + begin * d_model(), count, d_model()), false,
                                 down_bias.data());
    });
  }

  void backward() const {
    Arena* arena = y.gradient()->arena;
    const RoundedGradient<T> rounded_dy(*y.gradient(), rounds(), d_model(), down_bias.open_gradient());
    const Operand dy(y.grad().data(), rounded_dy.data(), rows(), d_model());
    const Index block = block_rows() * d_ff();
    const TemporaryArray<T> gradient(arena, rounds() ? 0 : block), again(arena, rounds() ? 0 : block);
    const TemporaryArray<Bfloat16> rounded(arena, rounds() ? block : 0),
        rounded_again(arena, rounds() ? block : 0);
    const GradientTarget<T> dx = x.open_gradient(), up_bias_target = up_bias.open_gradient();
    const GradientTarget<T> up_target = up_weight.open_gradient(), down_target = down_weight.open_gradient();
    for_each_block([&](Index begin, Index count) {
      const Operand dy_block = dy.rows_from(begin, count);
      const GradientTarget<T> bias_target{up_bias_target.data, up_bias_target.accumulate || begin > 0};
      if (rounds()) {
        kernels::Gemm<T>::multiply_rounded(dy_block, down(),
                                           kernels::dense_matrix(rounded.data(), count, d_ff()));
        kernels::Gelu<T>::backward_again(rounded_hidden + begin * d_ff(), rounded.data(), rounded.data(),
                                         rounded_again.data(), count, d_ff(), bias_target, form);
      } else {
        kernels::Gemm<T>::multiply(dy_block, down(), kernels::dense_matrix(gradient.data(), count, d_ff()),
                                   false);
        kernels::Gelu<T>::backward_again(hidden.data() + begin * d_ff(), gradient.data(), gradient.data(),
                                         again.data(), count, d_ff(), bias_target, form);
      }
      const Operand dh(gradient.data(), rounded.data(), count, d_ff());
      const Operand g(again.data(), rounded_again.data(), count, d_ff());
      add_product(dy_block.transposed(), g, down_target, begin > 0);
      add_product(dh.transposed(), x_matrix().rows_from(begin, count), up_target, begin > 0);
      if (dx.data != nullptr) add_product(dh, up(), {dx.data + begin * d_model(), dx.accumulate}, false);
    });
  }

 private:
  using Operand = kernels::Operand<T>;

  Index block_rows() const { return feed_forward_block(rows()); }

  Operand x_matrix() const { return {x.data(), rounded_x.data, rows(), d_model()}; }
  Operand up() const { return {up_weight.data(), rounded_up.data, d_ff(), d_model()}; }
  Operand down() const { return {down_weight.data(), rounded_down.data, d_model(), d_ff()}; }

  static void add_product(const Operand& a, const Operand& b, GradientTarget<T> target, bool accumulate) {
    if (target.data == nullptr) return;
    kernels::Gemm<T>::multiply(a, b, kernels::dense_matrix(target.data, a.exact.rows, b.exact.columns),
                               target.accumulate || accumulate);
  }
};

/// y = gelu(x W_up^T + b_up) W_down^T + b_down: x [..., D], up_weight [F, D], up_bias [F], down_weight [D,
/// F], down_bias [D] to y [..., D]; either bias may be none. The numbers are those of `linear`, `gelu` and
/// `linear`, but in bf16 GELU's argument and the gradient of its result are rounded too. For the backward
/// pass it keeps x and the argument, and computes GELU again. Throws ShapeError when the axes do not fit.
template <Scalar T>
Tensor<T> gelu_feed_forward(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& up_weight,
                            const Tensor<T>& up_bias, const Tensor<T>& down_weight,
                            const Tensor<T>& down_bias, GeluForm form) {
  constexpr std::string_view operation = "gelu_feed_forward";
  check_linear(operation, x.shape(), up_weight, up_bias);
  const Shape hidden_shape = x.shape().with_columns(up_weight.shape()[0]);
  check_linear(operation, hidden_shape, down_weight, down_bias);
  if (down_weight.shape()[0] != x.shape()[-1]) {
    throw ShapeError(operation, "down_weight is ", down_weight.shape(),
                     ": it must be [D, F] with D = ", x.shape()[-1]);
  }
  const Tensor<T> y = ctx.output(x.shape(), x, up_weight, up_bias, down_weight, down_bias);
  GeluFeedForwardNode<T> node{x,
                              up_weight,
                              up_bias,
                              down_weight,
                              down_bias,
                              y,
                              ctx.rounded(x),
                              ctx.rounded(up_weight),
                              ctx.rounded(down_weight),
                              form};
  Arena* arena = ctx.tape == nullptr ? nullptr : &ctx.tape->arena();
  if (y.requires_grad() && ctx.precision == Precision::fp32) node.hidden = ctx.saved(hidden_shape);
  if (y.requires_grad() && ctx.precision == Precision::bf16)
    node.rounded_hidden = arena->allocate_array<Bfloat16>(hidden_shape.size());
  node.forward(arena);
  ctx.record(y, node);
  return y;
}

}  // namespace exfusion::ops
