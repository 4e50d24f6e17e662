#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels::detail {

/// Into how many parts an inner dimension may be cut at most for a C of so many elements: the sums of all but
/// the first take no more than 32 MiB of floats.
inline Index most_parts(Index elements) { return 1 + (Index{8} << 20) / std::max<Index>(elements, 1); }

/// C = the sum of `parts` products, those of a long inner dimension's parts, which are computed in parallel
/// and added in order. `multiply(part, task, to, epilogue)` computes what belongs to one of `tasks` (tiles of
/// C, say) of a part: to = scale * A B (+ to) (+ bias). All but the first part go to scratch memory.
template <Scalar T, class Multiply>
void sum_parts(Index parts, Index tasks, MatrixView<T> c, const GemmEpilogue<T>& epilogue,
               const Multiply& multiply) {
  const Index size = c.rows * c.columns;
  T* sums = parts > 1 ? scratch<T, Multiply>((parts - 1) * size) : nullptr;
  parallel_for(parts * tasks, 1, [&](Index i, Index) {
    const Index part = i / tasks, task = i % tasks;
    if (part == 0) {
      multiply(part, task, c, epilogue);
    } else {
      multiply(part, task, dense_matrix(sums + (part - 1) * size, c.rows, c.columns),
               GemmEpilogue<T>{.scale = epilogue.scale});
    }
  });
  if (parts == 1) return;
  parallel_for(c.rows, 8, [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      T* to = c.data + row * c.row_stride;
      for (Index part = 1; part < parts; ++part) {
        const T* from = sums + (part - 1) * size + row * c.columns;
        for (Index column = 0; column < c.columns; ++column) to[column] += from[column];
      }
    }
  });
}

}  // namespace exfusion::kernels::detail
