#pragma once

// Opt-in: for programs whose data lives in Eigen. A Tensor seen as an Eigen map, and an Eigen matrix copied
// into a Tensor.

#include <Eigen/Core>

#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// Eigen's type for our row-major layout.
template <Scalar T>
using EigenMatrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// `tensor` as a matrix [all leading axes, last axis]; shares the numbers, which must outlive the map.
/// Whoever writes to a weight through it calls `Tensor::set_changed` afterwards.
template <Scalar T>
Eigen::Map<EigenMatrix<T>> as_eigen(const Tensor<T>& tensor) {
  return {tensor.data(), tensor.shape().rows(), tensor.shape().columns()};
}

/// A tensor [rows, columns] with a copy of an Eigen expression's values.
template <class Derived>
Tensor<typename Derived::Scalar> from_eigen(const Eigen::MatrixBase<Derived>& matrix) {
  auto result = Tensor<typename Derived::Scalar>::empty({matrix.rows(), matrix.cols()});
  as_eigen(result) = matrix;
  return result;
}

}  // namespace exfusion
