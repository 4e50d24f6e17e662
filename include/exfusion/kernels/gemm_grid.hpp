#pragma once

#include <algorithm>
#include <type_traits>

#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/gemm_packed_grid.hpp>
#include <exfusion/kernels/gemm_parts.hpp>
#include <exfusion/kernels/gemm_tile_grid.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels::detail {

/// The product on all threads, which share the tiles of C; or, where the inner dimension is long beside C, as
/// that of weight gradients is, the parts of the inner dimension: then no thread waits for what another one
/// has packed. Tiles and parts depend on the sizes alone, so the result does not depend on the number of
/// threads.
template <class Tile>
struct GemmGrid {
  using T = typename Tile::T;
  using Source = typename Tile::Source;

  /// C = scale * A B (+ C) (+ bias), any sizes.
  static void multiply(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                       const GemmEpilogue<T>& epilogue) {
    const Index parts = count_parts(c.rows, c.columns, b.rows), room = Grid::room(c.rows, c.columns);
    Packed* packed = scratch<Packed>(parts == 1 ? room : room * omp_get_max_threads());
    if (parts == 1) return Grid::multiply(a, b, c, epilogue, packed);
    const Index depth = (b.rows + parts * part_unit - 1) / (parts * part_unit) * part_unit;
    sum_parts(parts, 1, c, epilogue, [&](Index part, Index, MatrixView<T> to, const GemmEpilogue<T>& here) {
      const Index k = part * depth, depth_here = std::min(depth, b.rows - k);
      Grid::multiply(a.block(0, k, a.rows, depth_here), b.block(k, 0, depth_here, b.columns), to, here,
                     packed + omp_get_thread_num() * room);
    });
  }

  /// C = scale * A B (+ bias), rounded to bfloat16, any sizes; whole sums are rounded.
  static void multiply_rounded(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Bfloat16> c,
                               const GemmEpilogue<T>& epilogue) {
    if constexpr (is_packed) {
      using RoundedGrid = PackedGrid<Tile, Bfloat16>;
      if (RoundedGrid::rounds_sums(b.rows)) {
        Packed* packed = scratch<Packed>(RoundedGrid::room(c.rows, c.columns));
        return RoundedGrid::multiply(a, b, c, epilogue, packed);
      }
    }
    T* sums = scratch<T, Bfloat16>(c.rows * c.columns);
    multiply(a, b, dense_matrix(sums, c.rows, c.columns), epilogue);
    parallel_for(c.rows, 16, [=](Index begin, Index end) {
      for (Index row = begin; row < end; ++row)
        Round<T>::to_bfloat16_serial(sums + row * c.columns, c.data + row * c.row_stride, c.columns);
    });
  }

 private:
  static constexpr bool is_packed = requires { typename Tile::Pack; };
  using Grid = typename std::conditional_t<is_packed, std::type_identity<PackedGrid<Tile>>,
                                           std::type_identity<TileGrid<Tile>>>::type;
  using Packed = typename Grid::Packed;
  static constexpr Index part_unit = 64, smallest_part = 512, wanted_parts = 8;

  static Index count_parts(Index rows, Index columns, Index depth) {
    if (depth < 2 * std::max(rows, columns)) return 1;
    return std::clamp<Index>(std::min(depth / smallest_part, most_parts(rows * columns)), 1, wanted_parts);
  }
};

}  // namespace exfusion::kernels::detail
