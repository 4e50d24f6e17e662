#pragma once

#include <algorithm>

#include <Eigen/Core>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gemm.hpp>

namespace exfusion::kernels {

namespace detail {

template <class T>
auto eigen_map(MatrixView<T> view) {
  using Plain = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic>;
  using Target = std::conditional_t<std::is_const_v<T>, const Plain, Plain>;
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  return Eigen::Map<Target, 0, Stride>(view.data, view.rows, view.columns,
                                       Stride(view.column_stride, view.row_stride));
}

}  // namespace detail

template <Scalar T>
void Gemm<T>::multiply_serial(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                              T scale) {
  auto result = detail::eigen_map(c);
  if (!accumulate) result.setZero();
  result.noalias() += scale * detail::eigen_map(a) * detail::eigen_map(b);
}

template <Scalar T>
void Gemm<T>::multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                       const T* bias) {
  parallel_for(c.rows, 64, [=](Index begin, Index end) {
    MatrixView<const T> rows_of_a = a;
    rows_of_a.data += begin * a.row_stride;
    rows_of_a.rows = end - begin;
    MatrixView<T> rows_of_c = c;
    rows_of_c.data += begin * c.row_stride;
    rows_of_c.rows = end - begin;
    multiply_serial(rows_of_a, b, rows_of_c, accumulate);
    if (bias == nullptr) return;
    for (Index row = 0; row < end - begin; ++row) {
      for (Index column = 0; column < c.columns; ++column)
        rows_of_c.data[row * c.row_stride + column] += bias[column];
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gemm);
