#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <type_traits>

#include <omp.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/gemm_in_place_grid.hpp>
#include <exfusion/kernels/gemm_packed_grid.hpp>
#include <exfusion/kernels/gemm_parts.hpp>
#include <exfusion/kernels/gemm_stretch_grid.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/one_thread.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/scratch.hpp>

namespace exfusion::kernels::detail {

/// The grid of tiles whose operands are packed, for a C of numbers in Result.
template <class Tile, class Result>
using PackingGrid =
    std::conditional_t<Tile::stays_in_row, PackedGrid<Tile, Result>, StretchGrid<Tile, Result>>;

/// The product on all threads, which share the tiles of C; or, where the inner dimension is long beside C, as
/// that of weight gradients is, the parts of the inner dimension: then no thread packs what another one
/// packs, or waits for it. More threads than parts share the tiles of one part after the other. Parts, and
/// the order of sums in a tile, depend on sizes and strides alone, so the result does not depend on the
/// number of threads.
template <class Tile>
struct GemmGrid {
  using T = typename Tile::T;
  using Source = typename Tile::Source;

  /// C = A B (+ C) (+ bias), any sizes.
  static void multiply(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                       const GemmEpilogue<T>& epilogue) {
    if constexpr (!is_packed) {
      multiply_on<InPlaceGrid<Tile>>(a, b, c, epilogue);
    } else {
      if constexpr (Tile::has_columns_in_place) {
        if (Tile::reads_both_in_place(a, b)) return multiply_on<InPlaceGrid<Tile>>(a, b, c, epilogue);
      }
      multiply_on<PackingGrid<Tile, T>>(a, b, c, epilogue);
    }
  }

  /// C = A B (+ bias), rounded to bfloat16, any sizes. Sums over more than Rounding::largest_depth numbers
  /// take scratch memory.
  static void multiply_rounded(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<Bfloat16> c,
                               const T* bias) {
    if constexpr (is_packed) {
      using Rounding = PackingGrid<Tile, Bfloat16>;
      if (b.rows <= Rounding::largest_depth) {
        const Index room = Rounding::room(c.rows, c.columns, omp_get_max_threads());
        return Rounding::multiply(a, b, c, {.bias = bias}, scratch<typename Rounding::Packed>(room));
      }
    }
    const Index some = std::clamp<Index>(PartialSums<T>::most_numbers / std::max<Index>(c.columns, 1), 1,
                                         std::max<Index>(c.rows, 1));
    T* sums = scratch<T, struct RoundedSums>(some * c.columns);
    for (Index first = 0; first < c.rows; first += some) {
      const Index rows = std::min(some, c.rows - first);
      multiply(a.block(first, 0, rows, a.columns), b, dense_matrix(sums, rows, c.columns), {.bias = bias});
      parallel_for(rows, 16, [=](Index begin, Index end) {
        for (Index row = begin; row < end; ++row)
          Round<T>::to_bfloat16_serial(sums + row * c.columns, c.data + (first + row) * c.row_stride,
                                       c.columns);
      });
    }
  }

 private:
  static constexpr bool is_packed = requires { typename Tile::Pack; };
  static constexpr Index part_unit = 64;

  template <class Grid>
  static void multiply_on(MatrixView<const Source> a, MatrixView<const Source> b, MatrixView<T> c,
                          const GemmEpilogue<T>& epilogue) {
    const Index parts = parts_of_depth<Grid>(c.rows, c.columns, b.rows);
    const Index threads = omp_get_max_threads();
    const bool one_thread_each = parts > 1 && threads <= parts;
    using Packed = typename Grid::Packed;
    const Index room = Grid::room(c.rows, c.columns, one_thread_each ? 1 : threads);
    auto* packed = scratch<Packed>(one_thread_each ? room * threads : room);
    const Index depth = ceil_divide(b.rows, parts * part_unit) * part_unit;
    const PartialSums<T> sums(parts, c);
    const auto multiply_part = [&](Index part, Packed* memory) {
      const Index k = part * depth, depth_here = std::min(depth, b.rows - k);
      Grid::multiply(a.block(0, k, a.rows, depth_here), b.block(k, 0, depth_here, b.columns),
                     sums.target(part), PartialSums<T>::epilogue(part, epilogue), memory);
    };
    if (one_thread_each) {
      parallel_for(parts, 1, [&](Index part, Index) {
        Packed* memory = packed + omp_get_thread_num() * room;
        const OneThread one_thread;  // also where parallel regions may be nested
        multiply_part(part, memory);
      });
    } else {
      for (Index part = 0; part < parts; ++part) multiply_part(part, packed);
    }
    sums.add();
  }

  // A power of two, so that two or four threads have as much to do each.
  template <class Grid>
  static Index parts_of_depth(Index rows, Index columns, Index depth) {
    if (depth < 2 * std::max(rows, columns)) return 1;
    const Index most =
        std::min(Grid::wanted_parts(rows, columns), PartialSums<T>::most_parts(rows * columns));
    const Index parts = std::clamp<Index>(depth / Grid::smallest_part, 1, most);
    return static_cast<Index>(std::bit_floor(static_cast<std::size_t>(parts)));
  }
};

}  // namespace exfusion::kernels::detail
