#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>

namespace exfusion::kernels {

/// How a kernel that sums over rows divides them: into parts that depend on the number of rows alone, each
/// with partial sums of its own, which are then added in order.
struct RowParts {
  static constexpr Index most_parts = 32;
  static constexpr Index smallest_part = 16;

  Index rows = 0;
  Index grain = std::max(smallest_part, (rows + most_parts - 1) / most_parts);
  Index count = (rows + grain - 1) / grain;

  /// Calls body(part, begin, end) for every part, in parallel.
  template <class Body>
  void for_each(const Body& body) const {
    parallel_for(rows, grain, [&](Index begin, Index end) { body(begin / grain, begin, end); });
  }

  /// target[i] (+)= sum over parts of partial[part * stride + i], for i < size.
  template <Scalar T>
  void combine(const T* partial, Index stride, Index size, GradientTarget<T> target) const {
    parallel_for(size, 1024, [&](Index begin, Index end) {
      if (!target.accumulate) std::fill(target.data + begin, target.data + end, T{0});
      for (Index part = 0; part < count; ++part) {
        const T* from = partial + part * stride;
        write<T>({target.data, true}, begin, end, [=](Index i) { return from[i]; });
      }
    });
  }
};

}  // namespace exfusion::kernels
