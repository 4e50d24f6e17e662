#pragma once

#include <cstdint>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Rows of a table chosen by ids. Every id lies in [0, number of rows).
template <Scalar T>
struct Embedding {
  /// y[i, :] = weight[ids[i], :] for i < count, rows of `width` elements.
  static void forward(const std::int32_t* ids, Index count, const T* weight, Index width, T* y);
  /// dweight[ids[i], :] += dy[i, :], in the order of i; dweight [vocab_size, width] is set to zero first
  /// unless it accumulates.
  static void backward(const std::int32_t* ids, Index count, const T* dy, Index width, Index vocab_size,
                       GradientTarget<T> dweight);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/embedding-inl.hpp>
#endif
