#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels::detail {

/// Products of the parts of a long inner dimension, whose sum is C. The first part is written to C, the
/// others to scratch memory of the calling thread.
template <Scalar T>
class PartialSums {
 public:
  /// Numbers that are kept in scratch memory at most: 32 MiB.
  static constexpr Index most_numbers = (Index{32} << 20) / static_cast<Index>(sizeof(T));

  /// Into how many parts an inner dimension may be cut for a C of so many elements.
  static Index most_parts(Index elements) { return 1 + most_numbers / std::max<Index>(elements, 1); }

  PartialSums(Index parts, MatrixView<T> c) : parts_(parts), c_(c) {
    if (parts > 1) sums_ = scratch<T, PartialSums>((parts - 1) * size());
  }

  /// Where the product of a part belongs.
  MatrixView<T> target(Index part) const {
    return part == 0 ? c_ : dense_matrix(sums_ + (part - 1) * size(), c_.rows, c_.columns);
  }
  /// What happens to it: the first part takes C's former numbers and the bias.
  static GemmEpilogue<T> epilogue(Index part, const GemmEpilogue<T>& whole) {
    return part == 0 ? whole : GemmEpilogue<T>{};
  }

  /// C becomes the sum of all parts, added in order.
  void add() const {
    if (parts_ == 1) return;
    parallel_for(c_.rows, 8, [this](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        T* to = c_.data + row * c_.row_stride;
        for (Index part = 1; part < parts_; ++part) {
          const T* from = sums_ + (part - 1) * size() + row * c_.columns;
          for (Index column = 0; column < c_.columns; ++column) to[column] += from[column];
        }
      }
    });
  }

 private:
  Index size() const { return c_.rows * c_.columns; }

  Index parts_;
  MatrixView<T> c_;
  T* sums_ = nullptr;
};

}  // namespace exfusion::kernels::detail
