#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// Exponential moving average.
template <Scalar T>
struct Ema {
  /// average[i] += weight * (x[i] - average[i]) for i < size. Parallel.
  static void update(T* average, const T* x, Index size, T weight);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/ema-inl.hpp>
#endif
