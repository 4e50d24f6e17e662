#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels {

/// A factor of a matrix product: a matrix of numbers in T, or the same rounded to bfloat16.
template <Scalar T>
struct Operand {
  MatrixView<const T> exact;
  MatrixView<const Bfloat16> rounded;  ///< Without data in full precision.

  /// A row-major matrix; `rounded_values` may be null.
  Operand(const T* values, const Bfloat16* rounded_values, Index rows, Index columns)
      : exact(dense_matrix(values, rows, columns)), rounded(dense_matrix(rounded_values, rows, columns)) {}

  bool is_rounded() const { return rounded.data != nullptr; }

  Operand transposed() const { return {exact.transposed(), rounded.transposed()}; }

  /// Rows from `begin` on.
  Operand rows_from(Index begin, Index count) const {
    Operand part{exact.block(begin, 0, count, exact.columns), rounded};
    if (is_rounded()) part.rounded = rounded.block(begin, 0, count, rounded.columns);
    return part;
  }

 private:
  Operand(MatrixView<const T> exact_, MatrixView<const Bfloat16> rounded_)
      : exact(exact_), rounded(rounded_) {}
};

}  // namespace exfusion::kernels
