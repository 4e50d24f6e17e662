#pragma once

#include <exfusion/core/rng.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Sets random elements to zero and scales the others. The mask is never stored: it follows from a range of
/// the generator's counters.
template <Scalar T>
struct Dropout {
  /// Counters to reserve for a mask of `size` elements.
  static Index counters(Index size);
  /// y[i] (+)= x[i] / (1 - p) or, with probability p, zero: for i < size. Forward and backward alike: the
  /// same `first` gives the same mask.
  static void apply(const T* x, GradientTarget<T> y, Index size, double p, Rng::State first);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/dropout-inl.hpp>
#endif
