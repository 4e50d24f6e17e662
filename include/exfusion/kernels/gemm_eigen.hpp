#pragma once

#include <type_traits>

#include <Eigen/Core>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/one_thread.hpp>

namespace exfusion::kernels::detail {

/// The product on one thread by Eigen: of numbers in T, or in bfloat16 with sums in T.
template <Scalar Number, class Operand = Number>
struct EigenTile {
  using T = Number;
  using Source = Operand;

  /// C = A B (+ C) (+ bias), any sizes.
  static void run(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                  const GemmEpilogue<T>& epilogue) {
    if (c.rows == 0 || c.columns == 0) return;
    const OneThread one_thread;
    auto result = map<T>(c);
    if (!epilogue.accumulate) result.setZero();
    if (b.rows > 0) result.noalias() += operand(a) * operand(b);
    if (epilogue.bias == nullptr) return;
    result.rowwise() += Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>(epilogue.bias, c.columns);
  }

 private:
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

  static auto operand(MatrixView<const T> view) { return map<const T>(view); }
  static Matrix operand(MatrixView<const Bfloat16> view) {
    return map<const Eigen::bfloat16>(view).template cast<T>();
  }

  // `Element` is the type stored, or Eigen's name for it.
  template <class Element, class Stored>
  static auto map(MatrixView<Stored> view) {
    using Plain = Eigen::Matrix<std::remove_const_t<Element>, Eigen::Dynamic, Eigen::Dynamic>;
    using Target = std::conditional_t<std::is_const_v<Element>, const Plain, Plain>;
    using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    return Eigen::Map<Target, 0, Stride>(reinterpret_cast<Element*>(view.data), view.rows, view.columns,
                                         Stride(view.column_stride, view.row_stride));
  }
};

}  // namespace exfusion::kernels::detail
