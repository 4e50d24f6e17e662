#pragma once

#include <exfusion/core/rng.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Stochastic depth (Huang et al., arXiv 1603.09382).
template <Scalar T>
struct DropPath {
  /// y[b] (+)= x[b] / (1 - p), or 0 with probability p, for samples b of `size` numbers. Sample b's fate is
  /// the random block `first.counter + b`, the same whenever it is asked for.
  static void apply(const T* x, GradientTarget<T> y, Index samples, Index size, double p, Rng::State first);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/drop_path-inl.hpp>
#endif
