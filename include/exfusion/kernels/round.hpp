#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// Rounding to bfloat16.
template <Scalar T>
struct Round {
  /// y[i] = the bfloat16 nearest to x[i], for i < size; of an x[i] below the smallest normal number 0, where
  /// the CPU has an instruction for it.
  static void to_bfloat16(const T* x, Bfloat16* y, Index size);
  /// The same on the calling thread alone, for parts of what a parallel loop has just written.
  static void to_bfloat16_serial(const T* x, Bfloat16* y, Index size);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/round-inl.hpp>
#endif
