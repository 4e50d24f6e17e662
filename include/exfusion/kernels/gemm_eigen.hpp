#pragma once

#include <type_traits>

#include <Eigen/Core>

#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>

namespace exfusion::kernels::detail {

/// The product on one thread by Eigen, for compilers without vector extensions.
template <Scalar T>
struct EigenTile {
  /// C = scale * A B (+ C) (+ bias), any sizes.
  static void run(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c,
                  const GemmEpilogue<T>& epilogue) {
    if (c.rows == 0 || c.columns == 0) return;
    auto result = map(c);
    if (!epilogue.accumulate) result.setZero();
    if (b.rows > 0) result.noalias() += epilogue.scale * map(a) * map(b);
    if (epilogue.bias == nullptr) return;
    result.rowwise() += Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>(epilogue.bias, c.columns);
  }

 private:
  template <class Element>
  static auto map(MatrixView<Element> view) {
    using Plain = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
    using Target = std::conditional_t<std::is_const_v<Element>, const Plain, Plain>;
    using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    return Eigen::Map<Target, 0, Stride>(view.data, view.rows, view.columns,
                                         Stride(view.column_stride, view.row_stride));
  }
};

}  // namespace exfusion::kernels::detail
