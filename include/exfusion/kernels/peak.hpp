#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// What the CPU could do at most: multiply-adds of all threads that keep to their registers, the best of a
/// few passes of about a millisecond. Clock rates change: measure in turns with what is compared.
template <Scalar T>
struct Peak {
  /// Operations per second on T, a multiply-add counting two.
  static double operations_per_second();
  /// Operations per second on bfloat16 numbers with sums in fp32; those on T where the CPU has no instruction
  /// for them.
  static double bf16_operations_per_second();
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/peak-inl.hpp>
#endif
