#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Learned position embeddings: row t of a table is added to token t of every sequence.
template <Scalar T>
struct AddPosition {
  /// y[b, t, :] = x[b, t, :] + table[t, :] for x [batch, tokens, width], table [>= tokens, width].
  static void forward(const T* x, const T* table, T* y, Index batch, Index tokens, Index width);
  /// dtable[t, :] (+)= sum over b of dy[b, t, :] for t < tokens; rows from there to `positions` get zero.
  static void backward_table(const T* dy, GradientTarget<T> dtable, Index batch, Index tokens, Index width,
                             Index positions);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/add_position-inl.hpp>
#endif
