#pragma once

#include <algorithm>
#include <array>
#include <concepts>

#include <exfusion/kernels/gemm_epilogue.hpp>
#include <exfusion/kernels/gemm_numbers.hpp>
#include <exfusion/kernels/gemm_pack.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/prefetch.hpp>
#include <exfusion/kernels/simd.hpp>
#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels::detail {

/// Hides from the compiler where an address or a distance comes from, so that it stays in one register.
template <class Number>
[[gnu::always_inline]] inline void hide_origin(Number& number) {
  asm("" : "+r"(number));
}

/// Packed rows of A, a panel of `rows` after the other: column k of a panel begins at `data + k * rows` (of
/// AmxPack's panels, the pair of tiles with columns k to k + 15).
template <class Packed, int rows>
struct PackedRows {
  const Packed* data;
  Index step;  ///< From one panel to the next.

  PackedRows next_panel() const { return {data + step, step}; }
  void prefetch(Index /*depth*/) const {}
  PackedRows columns() const { return *this; }
  /// Asks for the column that is `columns` further.
  [[gnu::always_inline]] void prefetch_column(Index columns) const {
    kernels::prefetch(data + columns * rows, 1);
  }
  Packed operator[](int row) const { return data[row]; }
  void next_column() { data += rows; }
};

/// Rows of A where they are: in each, packed elements follow each other as they are multiplied.
template <class Numbers, int rows>
struct RowsInPlace {
  using Source = typename Numbers::Source;
  const Source* data;
  Index stride;  ///< From one row to the next.

  RowsInPlace from_row(Index row) const { return {data + row * stride, stride}; }
  RowsInPlace next_panel() const { return from_row(rows); }
  /// Asks for `depth` packed elements of each row.
  [[gnu::always_inline]] void prefetch(Index depth) const {
    for (int row = 0; row < rows; ++row) kernels::prefetch(data + row * stride, depth * Numbers::group);
  }

  /// A column of all rows, by one address for every fourth row and two strides: compilers left alone keep one
  /// for each row, more than there are registers.
  class Columns {
   public:
    [[gnu::always_inline]] explicit Columns(const RowsInPlace& rows_in_place)
        : stride_(rows_in_place.stride), three_strides_(3 * rows_in_place.stride) {
      hide_origin(three_strides_);
      for (Index i = 0; i < fourths; ++i) {
        fourth_[i] = rows_in_place.data + 4 * i * stride_;
        hide_origin(fourth_[i]);
      }
    }
    void prefetch_column(Index /*columns*/) const {}
    [[gnu::always_inline]] typename Numbers::Packed operator[](int row) const {
      return Numbers::in_place(fourth_[row / 4] + (row % 4 == 3 ? three_strides_ : row % 4 * stride_));
    }
    [[gnu::always_inline]] void next_column() {
      for (const Source*& row : fourth_) row += Numbers::group;
    }

   private:
    static constexpr int fourths = (rows + 3) / 4;
    const Source* fourth_[fourths];
    Index stride_, three_strides_;
  };
  [[gnu::always_inline]] Columns columns() const { return Columns(*this); }
};

/// Rows of A where they are: in each column, they follow each other.
template <class Numbers, int rows>
struct TransposedRowsInPlace {
  const typename Numbers::Source* data;
  Index stride;  ///< From one column to the next.

  TransposedRowsInPlace from_row(Index row) const { return {data + row, stride}; }
  TransposedRowsInPlace columns() const { return *this; }
  [[gnu::always_inline]] void prefetch_column(Index columns) const {
    __builtin_prefetch(data + columns * stride);
    __builtin_prefetch(data + columns * stride + rows - 1);
  }
  [[gnu::always_inline]] typename Numbers::Packed operator[](int row) const {
    return Numbers::in_place(data + row);
  }
  void next_column() { data += stride; }
};

/// Packed columns of B, a panel of `columns` after the other: row k of a panel begins at `data + k *
/// columns`.
template <class Packed, int columns>
struct PackedColumns {
  const Packed* data;
  static constexpr Index stride = columns;  ///< From one row to the next.
};

/// Columns of B where they are: in each row, they follow each other.
template <class Numbers>
struct ColumnsInPlace {
  const typename Numbers::Packed* data;
  Index stride;
};

/// A register block of C [rows, columns] += A [rows, depth] B [depth, columns]; `depth` counts packed
/// elements. A is PackedRows, RowsInPlace or TransposedRowsInPlace, B PackedColumns or ColumnsInPlace.
template <class NumbersOf, int Bytes = simd_bytes>
struct GemmMicroKernel {
  using Numbers = NumbersOf;
  using T = typename Numbers::Sum;
  using Packed = typename Numbers::Packed;
  using Block = GemmBlock<T, Bytes>;
  using Pack = GemmPack<Numbers, Bytes>;
  static constexpr bool stays_in_row = false;  ///< A panel of B meets all of A, not the other way round.
  struct Registers {};                         ///< Of those that it uses, none must be set up.
  using S = Simd<T, Bytes>;
  using Vector = typename S::Vector;
  using PackedVector = typename Simd<Packed, Bytes>::Vector;
  using Sums = Vector[Block::rows][Block::vectors];

  /// C may have fewer rows and columns than A and B, which have a full block's: it is the part of the product
  /// from this row and this column on. C's numbers (`Result`) are in T, or in bfloat16 and not accumulated.
  template <class Rows, class Columns, class Result>
  static void run(Index depth, const Rows& a, const Columns& b, MatrixView<Result> c,
                  const GemmEpilogue<T>& epilogue, Index first_row = 0, Index first_column = 0) {
    if (c.rows == Block::rows && c.columns == Block::columns) {
      run_full(depth, a, b, c.data, c.row_stride, epilogue);
    } else {
      run_part(depth, a, b, c, first_row, first_column, epilogue);
    }
  }

 private:
  // How far ahead the operands are asked for. Whatever waits for a number that is not in the nearest cache
  // has been started in vain, and is started again in the place of other multiply-adds.
  static constexpr Index a_ahead = 16, b_ahead = 8;

  template <class Rows, class Columns, class Result>
  static void run_full(Index depth, const Rows& a, const Columns& b, Result* c, Index row_stride,
                       const GemmEpilogue<T>& epilogue) {
    for (int row = 0; row < Block::rows; ++row) kernels::prefetch(c + row * row_stride, Block::columns);
    Sums sums = {};
    accumulate(depth, a, b, sums);
    // Else the addresses prefetched above would stay in registers until they are stored to.
    hide_origin(c);
    hide_origin(row_stride);
    store(sums, c, row_stride, epilogue);
  }

  // At the edges of C: the same through a full block on the stack.
  template <class Rows, class Columns, class Result>
  static void run_part(Index depth, const Rows& a, const Columns& b, MatrixView<Result> c, Index first_row,
                       Index first_column, GemmEpilogue<T> epilogue) {
    alignas(64) std::array<Result, Block::rows * Block::columns> block{};
    alignas(64) std::array<T, Block::columns> bias{};
    Result* part = block.data() + first_row * Block::columns + first_column;
    if (epilogue.bias != nullptr) {
      std::copy_n(epilogue.bias, c.columns, bias.data() + first_column);
      epilogue.bias = bias.data();
    }
    for (Index row = 0; row < c.rows && epilogue.accumulate; ++row)
      std::copy_n(c.data + row * c.row_stride, c.columns, part + row * Block::columns);
    run_full(depth, a, b, block.data(), Block::columns, epilogue);
    for (Index row = 0; row < c.rows; ++row)
      std::copy_n(part + row * Block::columns, c.columns, c.data + row * c.row_stride);
  }

  template <class Rows, class Columns>
  [[gnu::always_inline]] static void accumulate(Index depth, const Rows& rows, Columns b, Sums& sums) {
    auto a = rows.columns();
#pragma GCC unroll 4
    for (Index k = 0; k < depth; ++k) {
      a.prefetch_column(a_ahead);
      prefetch(b.data + b_ahead * b.stride, Block::columns);
      PackedVector row_of_b[Block::vectors];
#pragma GCC unroll 4
      for (int v = 0; v < Block::vectors; ++v) Simd<Packed, Bytes>::load(row_of_b[v], b.data + v * S::lanes);
#pragma GCC unroll 16
      for (int row = 0; row < Block::rows; ++row) {
        PackedVector factor = a[row] - PackedVector{};
        keep_in_register(factor);
#pragma GCC unroll 4
        for (int v = 0; v < Block::vectors; ++v)
          Numbers::template multiply_add<Bytes>(sums[row][v], factor, row_of_b[v]);
      }
      a.next_column();
      b.data += b.stride;
    }
  }

  // Otherwise GCC loads the same element of A once for each product.
  [[gnu::always_inline]] static void keep_in_register([[maybe_unused]] PackedVector& vector) {
#if defined(__clang__)
#elif defined(__AVX512F__)
    if constexpr (Bytes <= 64) asm("" : "+v"(vector));
#elif defined(__AVX__)
    if constexpr (Bytes <= 32) asm("" : "+x"(vector));
#endif
  }

  template <class Result>
  [[gnu::always_inline]] static void store(const Sums& sums, Result* c, Index row_stride,
                                           const GemmEpilogue<T>& epilogue) {
#pragma GCC unroll 16
    for (int row = 0; row < Block::rows; ++row) {
#pragma GCC unroll 4
      for (int v = 0; v < Block::vectors; ++v) {
        Result* to = c + row * row_stride + v * S::lanes;
        Vector value = sums[row][v], other;
        if constexpr (std::same_as<Result, T>) {
          if (epilogue.accumulate) {
            S::load(other, to);
            value += other;
          }
        }
        if (epilogue.bias != nullptr) {
          S::load(other, epilogue.bias + v * S::lanes);
          value += other;
        }
        if constexpr (std::same_as<Result, T>) {
          S::store(value, to);
        } else {
          store_rounded<T, Bytes>(value, to);
        }
      }
    }
  }
};

}  // namespace exfusion::kernels::detail
