#pragma once

#include <cstdint>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// The numbers of one AdamW step that all elements share, in PyTorch's formulation:
/// m = beta1 m + new1 g, v = beta2 v + new2 g^2, p = keep p - rate m / (sqrt(v) root_scale + eps).
template <Scalar T>
struct AdamWStep {
  T beta1, new1;  ///< new1 = 1 - beta1
  T beta2, new2;  ///< new2 = 1 - beta2
  T rate;         ///< lr / (1 - beta1^t)
  T root_scale;   ///< 1 / sqrt(1 - beta2^t)
  T eps;
  T keep;  ///< 1 - lr * weight decay
};

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101): each pass streams parameter, gradient and moments once.
template <Scalar T>
struct AdamW {
  /// One dense parameter p [size] with gradient g and moments m, v. Parallel. `rounded` [size],
  /// if not null, receives p rounded to bfloat16 while p is in the cache.
  static void update(T* p, const T* g, T* m, T* v, Index size, const AdamWStep<T>& step,
                     Bfloat16* rounded = nullptr);

  /// Part of one expert, whose gradient is a g and whose eps is |a| eps (docs/optimizers.md). Serial.
  static void update_expert(T* p, const T* g, T a, T* m, T* v, Index size, const AdamWStep<T>& step);

  /// The same with moments in bfloat16, `moments` being the bits of Bf16Moments. `seed`: of their rounding,
  /// as `rounding_seed` gives it, plus the index of the first element. `size` is below 2^31.
  static void update_expert(T* p, const T* g, T a, std::uint32_t* moments, Index size,
                            const AdamWStep<T>& step, std::uint32_t seed);

  /// The same part of all experts in T, with constant weights a [experts]: one m and v, computed from g,
  /// serve them all. Expert i's part starts at p + i * stride. Serial.
  static void update_experts(T* p, Index stride, const T* a, Index experts, const T* g, T* m, T* v,
                             Index size, const AdamWStep<T>& step);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/adamw-inl.hpp>
#endif
