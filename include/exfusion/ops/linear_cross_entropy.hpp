#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/cross_entropy.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/ops/cross_entropy.hpp>

namespace exfusion {

namespace detail {

/// Logits of so many rows as are held at once, one block of rows after the other.
template <Scalar T>
struct LogitBlock {
  Tensor<T> x, weight;
  Rounded rounded_x, rounded_weight;
  Tensor<T> logits;                      ///< [rows of a block, V]
  Bfloat16* rounded_gradient = nullptr;  ///< Room for that of the logits, in bf16.

  Index rows() const { return x.shape().rows(); }
  Index rows_from(Index begin) const { return std::min(logits.shape()[0], rows() - begin); }
  Index last() const { return (rows() - 1) / logits.shape()[0] * logits.shape()[0]; }

  kernels::Operand<T> x_from(Index begin) const {
    const kernels::Operand<T> all(x.data(), rounded_x.data, rows(), x.shape()[-1]);
    return all.rows_from(begin, rows_from(begin));
  }
  kernels::Operand<T> weight_matrix() const {
    return {weight.data(), rounded_weight.data, weight.shape()[0], weight.shape()[1]};
  }

  void compute(Index begin) const {
    kernels::Gemm<T>::multiply(x_from(begin), weight_matrix().transposed(),
                               kernels::dense_matrix(logits.data(), rows_from(begin), logits.shape()[1]),
                               false);
  }

  /// The logits' gradient, which has taken the place of the logits from row `begin` on.
  kernels::Operand<T> gradient(Index begin) const {
    const Index count = rows_from(begin), classes = logits.shape()[1];
    if (rounded_gradient != nullptr)
      kernels::Round<T>::to_bfloat16(logits.data(), rounded_gradient, count * classes);
    return {logits.data(), rounded_gradient, count, classes};
  }
};

template <Scalar T>
void check_linear_cross_entropy(const Tensor<T>& x, const Tensor<T>& weight, const IntTensor& targets,
                                Index most_logits) {
  constexpr std::string_view operation = "linear_cross_entropy";
  if (weight.shape().rank() != 2) {
    throw ShapeError(operation, "weight is ", weight.shape(), ": it must be [V, D]");
  }
  const Index d_in = weight.shape()[1];
  if (x.shape().rank() < 1 || x.shape()[-1] != d_in) {
    throw ShapeError(operation, "x is ", x.shape(), ": its last axis must be D = ", d_in);
  }
  if (targets.shape().rank() != x.shape().rank() - 1 || targets.shape().with_appended(d_in) != x.shape()) {
    throw ShapeError(operation, "x is ", x.shape(), " and targets is ", targets.shape(),
                     ": x must have the targets' axes and one of D");
  }
  if (most_logits < 1) throw ConfigError(operation, "most_logits is ", most_logits, ": it must be positive");
}

}  // namespace detail

namespace ops {

template <Scalar T>
struct LinearCrossEntropyNode {
  static constexpr std::string_view name = "linear_cross_entropy";
  exfusion::detail::LogitBlock<T> block;
  Tensor<T> log_sum_exp, loss;
  IntTensor targets;
  CrossEntropyOptions options;
  Index counted;

  // From the last block on, whose logits are still there.
  void backward() const {
    const Tensor<T>&x = block.x, &weight = block.weight, &logits = block.logits;
    const Index d_out = weight.shape()[0], d_in = weight.shape()[1];
    const T scale = loss.grad()[0] / static_cast<T>(counted);
    const GradientTarget<T> dx = x.open_gradient(), dw = weight.open_gradient();
    for (Index begin = block.last(); begin >= 0; begin -= logits.shape()[0]) {
      const bool is_last = begin == block.last();
      if (!is_last) block.compute(begin);
      kernels::CrossEntropy<T>::backward(logits.data(), targets.data() + begin, log_sum_exp.data() + begin,
                                         block.rows_from(begin), d_out, options, scale,
                                         {logits.data(), false});
      const kernels::Operand<T> dlogits = block.gradient(begin);
      if (weight.requires_grad()) {
        kernels::Gemm<T>::multiply(dlogits.transposed(), block.x_from(begin),
                                   kernels::dense_matrix(dw.data, d_out, d_in), dw.accumulate || !is_last);
      }
      if (x.requires_grad()) {
        kernels::Gemm<T>::multiply(
            dlogits, block.weight_matrix(),
            kernels::dense_matrix(dx.data + begin * d_in, block.rows_from(begin), d_in), dx.accumulate);
      }
    }
  }
};

/// `cross_entropy(linear(x, weight), targets, options)` without ever holding all logits: x [..., D], weight
/// [V, D], targets [...] to a scalar []. Rows are taken in blocks of at most `most_logits` logits (but one
/// row at least), in float 64 MiB by default; one block's memory serves all of them, and then their gradient.
///
/// If all logits fit one block, the cost is that of the two operations, without a second array of their size.
/// Otherwise the backward pass computes the logits of every block but the last again (as Wijmans et al.,
/// arXiv 2411.09009, do): at most 2 rows V D operations on top of 6 rows V D. Taking the gradients in the
/// forward pass would save them, but the loss's scale is not known then, and the weight's gradient would have
/// to wait in a second array of its size.
///
/// The targets must stay as they are until the backward pass. Throws ShapeError when the axes do not fit,
/// ConfigError when `most_logits` is not positive, and as `cross_entropy` does.
template <Scalar T>
Tensor<T> linear_cross_entropy(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& weight,
                               const IntTensor& targets, const CrossEntropyOptions& options = {},
                               Index most_logits = Index{1} << 24) {
  exfusion::detail::check_linear_cross_entropy(x, weight, targets, most_logits);
  const Index rows = targets.size(), classes = weight.shape()[0];
  const Index counted = exfusion::detail::counted_targets("linear_cross_entropy", targets, classes, options);
  Tensor<T> loss = ctx.output(Shape{}, x, weight);
  const Index block_rows = std::clamp<Index>(most_logits / classes, 1, rows);
  const Tensor<T> logits = ctx.saved({block_rows, classes});
  exfusion::detail::LogitBlock<T> block{x, weight, ctx.rounded(x), ctx.rounded(weight), logits};
  if (loss.requires_grad() && ctx.precision == Precision::bf16)
    block.rounded_gradient = ctx.tape->arena().template allocate_array<Bfloat16>(logits.size());
  const Tensor<T> log_sum_exp = ctx.saved({rows});
  double total = 0;
  for (Index begin = 0; begin < rows; begin += block_rows) {
    block.compute(begin);
    total +=
        kernels::CrossEntropy<T>::forward(block.logits.data(), targets.data() + begin, block.rows_from(begin),
                                          classes, options, log_sum_exp.data() + begin);
  }
  *loss.data() = static_cast<T>(total / static_cast<double>(counted));
  ctx.record(loss, LinearCrossEntropyNode<T>{block, log_sum_exp, loss, targets, options, counted});
  return loss;
}

}  // namespace ops
}  // namespace exfusion
