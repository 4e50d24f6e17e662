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

/// Two targets for each row of a batch, of which the first counts for `share` and the second for the rest
/// (mixup, arXiv 1710.09412).
struct MixedTargets {
  IntTensor first;
  IntTensor second;
  double share = 1;

  kernels::TargetClasses classes() const {
    return share == 1 ? kernels::TargetClasses(first.data())
                      : kernels::TargetClasses(first.data(), second.data(), share);
  }
};

namespace ops {

template <Scalar T>
struct CrossEntropyNode {
  static constexpr std::string_view name = "cross_entropy";
  Tensor<T> logits, log_sum_exp, loss;
  MixedTargets targets;
  CrossEntropyOptions options;
  Index counted;

  void backward() const {
    kernels::CrossEntropy<T>::backward(logits.data(), targets.classes(), log_sum_exp.data(),
                                       targets.first.size(), logits.shape()[-1], options,
                                       loss.grad()[0] / static_cast<T>(counted), logits.open_gradient());
  }
};

/// share times the cross-entropy with the first targets plus 1 - share times that with the second, in one
/// pass over logits [..., V]; targets [...] each. Otherwise as the one below; a row whose first target is to
/// be ignored counts for nothing. Throws as that does, and ConfigError when the share is outside [0, 1].
template <Scalar T>
Tensor<T> cross_entropy(const Context<T>& ctx, const Tensor<T>& logits, const MixedTargets& targets,
                        const CrossEntropyOptions& options = {}) {
  const bool is_mixed = targets.share != 1;
  const Shape& shape = targets.first.shape();
  if (logits.shape().rank() < 1 || shape.with_appended(logits.shape()[-1]) != logits.shape() ||
      (is_mixed && targets.second.shape() != shape)) {
    throw ShapeError("cross_entropy", "logits is ", logits.shape(), " and targets is ", shape,
                     ": logits must have the targets' axes and one of classes");
  }
  if (!(targets.share >= 0 && targets.share <= 1)) {
    throw ConfigError("cross_entropy", "the first targets' share is ", targets.share,
                      ": it must lie in [0, 1]");
  }
  const Index rows = targets.first.size(), classes = logits.shape()[-1];
  const Index counted = detail::counted_targets("cross_entropy", targets.first, classes, options);
  if (is_mixed) detail::check_ids("cross_entropy", "second targets", targets.second, classes);
  Tensor<T> loss = ctx.output(Shape{}, logits);
  const Tensor<T> log_sum_exp = ctx.saved({rows});
  const double total = kernels::CrossEntropy<T>::forward(logits.data(), targets.classes(), rows, classes,
                                                         options, log_sum_exp.data());
  *loss.data() = static_cast<T>(total / static_cast<double>(counted));
  ctx.record(loss, CrossEntropyNode<T>{logits, log_sum_exp, loss, targets, options, counted});
  return loss;
}

/// The mean over the targets that are not ignored of -log softmax(logits)[target]; with label smoothing s, of
/// (1 - s) times that plus s times the mean of -log softmax(logits) over all classes (Szegedy et al., arXiv
/// 1512.00567; as PyTorch defines it). logits [..., V], targets [...] to a scalar []. The targets must stay
/// as they are until the backward pass. Throws ShapeError when the axes do not fit, ConfigError when s is
/// outside [0, 1], Error naming the first target outside [0, V), or when all targets are ignored.
template <Scalar T>
Tensor<T> cross_entropy(const Context<T>& ctx, const Tensor<T>& logits, const IntTensor& targets,
                        const CrossEntropyOptions& options = {}) {
  return cross_entropy(ctx, logits, MixedTargets{.first = targets, .second = {}}, options);
}

}  // namespace ops
}  // namespace exfusion
