#pragma once

#include <algorithm>

#include <exfusion/autograd/context.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/kernels/cross_entropy.hpp>
#include <exfusion/ops/check_ids.hpp>

namespace exfusion {

namespace detail {

/// How many targets are not ignored. Throws as `cross_entropy` does, except for shapes.
inline Index counted_targets(std::string_view operation, const IntTensor& targets, Index classes,
                             const CrossEntropyOptions& options) {
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1)) {
    throw ConfigError(operation, "label_smoothing is ", options.label_smoothing, ": it must lie in [0, 1]");
  }
  check_ids(operation, "targets", targets, classes, options.ignore_index);
  const Index counted = targets.size() - std::ranges::count(targets.values(), options.ignore_index);
  if (counted == 0) {
    throw Error(operation, "all ", targets.size(), " targets are ignored: their mean does not exist");
  }
  return counted;
}

}  // namespace detail

namespace ops {

template <Scalar T>
struct CrossEntropyNode {
  static constexpr std::string_view name = "cross_entropy";
  Tensor<T> logits, log_sum_exp, loss;
  IntTensor targets;
  CrossEntropyOptions options;
  Index counted;

  void backward() const {
    kernels::CrossEntropy<T>::backward(logits.data(), targets.data(), log_sum_exp.data(), targets.size(),
                                       logits.shape()[-1], options, loss.grad()[0] / static_cast<T>(counted),
                                       logits.open_gradient());
  }
};

/// The mean over the targets that are not ignored of -log softmax(logits)[target]; with label smoothing s, of
/// (1 - s) times that plus s times the mean of -log softmax(logits) over all classes (Szegedy et al., arXiv
/// 1512.00567; as PyTorch defines it). logits [..., V], targets [...] to a scalar []. The targets must stay
/// as they are until the backward pass. Throws ShapeError when the axes do not fit, ConfigError when s is
/// outside [0, 1], Error naming the first target outside [0, V), or when all targets are ignored.
template <Scalar T>
Tensor<T> cross_entropy(const Context<T>& ctx, const Tensor<T>& logits, const IntTensor& targets,
                        const CrossEntropyOptions& options = {}) {
  if (logits.shape().rank() < 1 || targets.shape().with_appended(logits.shape()[-1]) != logits.shape()) {
    throw ShapeError("cross_entropy", "logits is ", logits.shape(), " and targets is ", targets.shape(),
                     ": logits must have the targets' axes and one of classes");
  }
  const Index rows = targets.size(), classes = logits.shape()[-1];
  const Index counted = detail::counted_targets("cross_entropy", targets, classes, options);
  Tensor<T> loss = ctx.output(Shape{}, logits);
  const Tensor<T> log_sum_exp = ctx.saved({rows});
  const double total = kernels::CrossEntropy<T>::forward(logits.data(), targets.data(), rows, classes,
                                                         options, log_sum_exp.data());
  *loss.data() = static_cast<T>(total / static_cast<double>(counted));
  ctx.record(loss, CrossEntropyNode<T>{logits, log_sum_exp, loss, targets, options, counted});
  return loss;
}

}  // namespace ops
}  // namespace exfusion
