#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// The numbers of one SGD step that all elements share, in PyTorch's formulation: d = g + decay p,
/// b = momentum b + d, then p -= rate (d + momentum b) with Nesterov, else p -= rate b.
template <Scalar T>
struct SgdStep {
  T rate;   ///< The learning rate.
  T decay;  ///< Coupled L2.
  T momentum;
  bool nesterov;
};

/// SGD: each pass streams parameter, gradient and momentum once.
template <Scalar T>
struct Sgd {
  /// One dense parameter p [size] with gradient g; `buffer` is null without momentum. Parallel.
  /// `rounded` [size], if not null, receives p rounded to bfloat16.
  static void update(T* p, const T* g, T* buffer, Index size, const SgdStep<T>& step,
                     Bfloat16* rounded = nullptr);

  /// Part of one expert, whose gradient is a g. Serial.
  static void update_expert(T* p, const T* g, T a, T* buffer, Index size, const SgdStep<T>& step);

  /// The same part of all experts, with constant weights a [experts] and without decay: one buffer (not
  /// null), filled from g, serves them all. Expert i's part starts at p + i * stride. Serial.
  static void update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* buffer, Index size,
                             const SgdStep<T>& step);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/sgd-inl.hpp>
#endif
