#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// A matrix somewhere in memory: element (r, c) is data[r * row_stride + c * column_stride]; one of the
/// strides is 1. A transpose swaps them and costs nothing.
template <class T>
struct MatrixView {
  T* data = nullptr;
  Index rows = 0;
  Index columns = 0;
  Index row_stride = 0;
  Index column_stride = 1;

  MatrixView transposed() const { return {data, columns, rows, column_stride, row_stride}; }

  /// The part of `part_rows` rows and `part_columns` columns that begins at (row, column).
  MatrixView block(Index row, Index column, Index part_rows, Index part_columns) const {
    return {data + row * row_stride + column * column_stride, part_rows, part_columns, row_stride,
            column_stride};
  }
};

/// A row-major matrix without gaps between rows.
template <class T>
MatrixView<T> dense_matrix(T* data, Index rows, Index columns) {
  return {data, rows, columns, columns, 1};
}

}  // namespace exfusion::kernels
