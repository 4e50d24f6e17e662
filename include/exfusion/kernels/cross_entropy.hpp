#pragma once

#include <cstdint>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

struct CrossEntropyOptions {
  /// Targets with this value count for nothing.
  std::int32_t ignore_index = -100;
  /// Part of each target's probability that is spread evenly over all classes, in [0, 1].
  double label_smoothing = 0;
};

namespace kernels {

/// The classes of a batch's rows; with a second one for each row, that counts for 1 - `share` and the first
/// for `share` (mixup, arXiv 1710.09412).
struct TargetClasses {
  const std::int32_t* first = nullptr;
  const std::int32_t* second = nullptr;
  double share = 1;

  TargetClasses(const std::int32_t* targets) : first(targets) {}  // NOLINT: plain targets are the usual case
  TargetClasses(const std::int32_t* targets, const std::int32_t* partners, double share_of_targets)
      : first(targets), second(partners), share(share_of_targets) {}
};

/// Cross-entropy of a softmax over rows of `classes` logits with target classes.
template <Scalar T>
struct CrossEntropy {
  /// The sum over rows of (1 - s) (lse - z[target]) + s mean(lse - z), with s the label smoothing and lse =
  /// log sum exp z, which is saved [rows]; where there are second targets, z[target] is the mean of both.
  static double forward(const T* logits, const TargetClasses& targets, Index rows, Index classes,
                        const CrossEntropyOptions& options, T* log_sum_exp);
  /// dlogits (+)= scale * (softmax(z) - (1 - s) [target] - s / classes); zero for ignored rows, those whose
  /// first target is to be ignored.
  static void backward(const T* logits, const TargetClasses& targets, const T* log_sum_exp, Index rows,
                       Index classes, const CrossEntropyOptions& options, T scale, GradientTarget<T> dlogits);
};

}  // namespace kernels
}  // namespace exfusion

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/cross_entropy-inl.hpp>
#endif
