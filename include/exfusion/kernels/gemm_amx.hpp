#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include <exfusion/kernels/amx.hpp>
#include <exfusion/kernels/gemm_micro.hpp>

namespace exfusion::kernels::detail {

/// Four tiles of sums, two by two.
struct AmxBlock {
  static constexpr Index rows = 2 * AmxTile::rows;
  static constexpr Index columns = 2 * AmxTile::rows;
  static constexpr Index depth = 256;      ///< Packed elements that are summed up before C is touched.
  static constexpr Index most_rows = 256;  ///< Of a tile of C.
};

/// Copies parts of A and B into the order in which tiles are loaded, padded with zeros to whole tiles.
struct AmxPack {
  using Source = Bfloat16;
  using Packed = std::uint32_t;
  using PackB = GemmPack<PairedBfloat16, 64>;
  static_assert(PackB::Block::columns == AmxBlock::columns);

  /// Numbers along the inner dimension that A must have a multiple of to be read where it is.
  static constexpr Index whole = AmxTile::numbers;

  /// Packed elements that `size` numbers along the inner dimension make, in whole tiles.
  static constexpr Index depth_of(Index size) {
    return (size + AmxTile::numbers - 1) / AmxTile::numbers * AmxTile::pairs;
  }
  /// Elements from one packed panel of A to the next, a cache line more than it has.
  static constexpr Index a_step(Index depth) { return AmxBlock::rows * depth + AmxTile::pairs; }
  /// The same of B.
  static constexpr Index b_step(Index depth) { return AmxBlock::columns * depth; }

  /// Rows of A in panels of `AmxBlock::rows`. A panel is a sequence of pairs of tiles, the upper one first.
  static void a(MatrixView<const Source> a, Index step, Packed* packed) {
    const auto pack_pair = [&](Index row, Index k) {
      Packed* to = packed + row / AmxBlock::rows * step + k / AmxTile::numbers * 2 * AmxTile::elements;
      a_tile(a, row, k, to);
      a_tile(a, row + AmxTile::rows, k, to + AmxTile::elements);
    };
    // What is stored side by side is read together.
    if (a.column_stride == 1) {
      for (Index row = 0; row < a.rows; row += AmxBlock::rows) {
        for (Index k = 0; k < a.columns; k += AmxTile::numbers) pack_pair(row, k);
      }
    } else {
      for (Index k = 0; k < a.columns; k += AmxTile::numbers) {
        for (Index row = 0; row < a.rows; row += AmxBlock::rows) pack_pair(row, k);
      }
    }
  }

  /// Columns of B in panels of `AmxBlock::columns`: row k of panel p starts at p * b_step + k * columns.
  static void b(MatrixView<const Source> b, Index step, Packed* packed) {
    PackB::b(b, step, packed);
    const Index rows = PackB::depth_of(b.rows), padding = depth_of(b.rows) - rows;
    for (Index column = 0; padding > 0 && column < b.columns; column += AmxBlock::columns, packed += step)
      std::fill_n(packed + rows * AmxBlock::columns, padding * AmxBlock::columns, Packed{0});
  }

 private:
  using S = Simd<Packed, 64>;

  static void a_tile(MatrixView<const Source> a, Index row, Index k, Packed* to) {
    const Index rows = std::clamp<Index>(a.rows - row, 0, AmxTile::rows);
    const Index numbers = std::min<Index>(a.columns - k, AmxTile::numbers);
    const Source* from = a.data + row * a.row_stride + k * a.column_stride;
    if (rows < AmxTile::rows || numbers < AmxTile::numbers) {
      a_part(from, rows, numbers, a, to);
    } else if (a.column_stride == 1) {
      for (Index r = 0; r < AmxTile::rows; ++r)
        std::memcpy(to + r * AmxTile::pairs, from + r * a.row_stride, sizeof(Source) * AmxTile::numbers);
    } else {
      transpose_tile(from, a.column_stride, to);
    }
  }

  // A tile of an A whose columns are stored one after the other.
  static void transpose_tile(const Source* from, Index stride, Packed* to) {
    S::Vector pairs[AmxTile::pairs];
#pragma GCC unroll 16
    for (Index pair = 0; pair < AmxTile::pairs; ++pair) {
      const Source* column = from + 2 * pair * stride;
      pairs[pair] = widened(column) | widened(column + stride) << 16;
      __builtin_prefetch(column + AmxTile::numbers * stride);
      __builtin_prefetch(column + (AmxTile::numbers + 1) * stride);
    }
    S::transpose(pairs);
#pragma GCC unroll 16
    for (Index row = 0; row < AmxTile::rows; ++row) S::store(pairs[row], to + row * AmxTile::pairs);
  }

  [[gnu::always_inline]] static S::Vector widened(const Source* from) {
    using Halves [[gnu::vector_size(32)]] = std::uint16_t;
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return __builtin_convertvector(halves, S::Vector);
  }

  static void a_part(const Source* from, Index rows, Index numbers, MatrixView<const Source> a, Packed* to) {
    std::fill_n(to, AmxTile::elements, Packed{0});
    for (Index r = 0; r < rows; ++r) {
      for (Index k = 0; k < numbers; k += 2) {
        to[r * AmxTile::pairs + k / 2] = PairedBfloat16::element(
            from + r * a.row_stride + k * a.column_stride, a.column_stride, k + 1 < numbers);
      }
    }
  }
};

/// A block of C [rows, columns] += A [rows, depth] B [depth, columns] in tile registers, or in vectors where
/// the process may not use those; `depth` counts packed elements, a multiple of AmxTile::pairs.
struct AmxMicroKernel {
  using Numbers = PairedBfloat16;
  using T = float;
  using Packed = std::uint32_t;
  using Block = AmxBlock;
  using Pack = AmxPack;
  using Registers = AmxRegistersIfPermitted<AmxTile::rows>;
  /// A panel of A meets all of B, which is packed and so comes from the L2 cache in a stream, before the
  /// next.
  static constexpr bool stays_in_row = true;

  /// C has at most a full block's rows and columns; A has a full block's rows, B its columns.
  template <class Rows>
  static void run(Index depth, const Rows& rows, const PackedColumns<Packed, Block::columns>& columns,
                  MatrixView<T> c, const GemmEpilogue<T>& epilogue, bool in_registers = amx_is_permitted()) {
    const auto accumulate = [&](const T* start, Index start_stride, T* to, Index to_stride) {
      if (in_registers) {
        accumulate_in_registers(depth, rows, columns.data, start, start_stride, to, to_stride);
      } else {
        accumulate_in_vectors(depth, tiles(rows), columns.data, start, start_stride, to, to_stride);
      }
    };
    const bool is_full = c.rows == Block::rows && c.columns == Block::columns;
    if (is_full && !(epilogue.accumulate && epilogue.bias != nullptr)) {
      const bool from_c = epilogue.accumulate, from_bias = epilogue.bias != nullptr;
      const T* start = from_c ? c.data : from_bias ? epilogue.bias : nullptr;
      accumulate(start, from_c ? c.row_stride : 0, c.data, c.row_stride);
    } else {
      alignas(64) std::array<T, Block::rows * Block::columns> sums;
      accumulate(nullptr, 0, sums.data(), Block::columns);
      store(sums.data(), c, epilogue);
    }
  }

 private:
  static constexpr Index number_bytes = sizeof(Bfloat16), element_bytes = sizeof(Packed);
  static constexpr Index b_ahead = 2;  ///< Pairs of tiles.

  // Where the two tiles of a panel of A are, and how far it is to those of the next numbers, in bytes.
  struct Tiles {
    const char* upper;
    const char* lower;
    Index stride, step;
  };
  static Tiles tiles(const PackedRows<Packed, Block::rows>& a) {
    const char* upper = reinterpret_cast<const char*>(a.data);
    constexpr Index bytes = AmxTile::elements * element_bytes;
    return {upper, upper + bytes, AmxTile::pairs * element_bytes, 2 * bytes};
  }
  static Tiles tiles(const RowsInPlace<PairedBfloat16, Block::rows>& a) {
    const char* upper = reinterpret_cast<const char*>(a.data);
    const Index stride = a.stride * number_bytes;
    return {upper, upper + AmxTile::rows * stride, stride, AmxTile::numbers * number_bytes};
  }

  // to [rows, columns] = A B + start, whose rows are `start_stride` apart (0: one for all); zeros if null.
  template <class Rows>
  static void accumulate_in_registers(Index depth, const Rows& rows, const Packed* b, const T* start,
                                      Index start_stride, T* to, Index to_stride) {
    constexpr Index half = AmxTile::pairs, element = sizeof(T), page = 4096 / element;
    // Rows of C in pages of their own are written slowly, and loads from the L2 cache wait behind them.
    const bool asks_ahead = to_stride >= page;
    asm volatile("" ::: "memory");  // what is loaded has been written
    if (start == nullptr) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      const T* lower = start + AmxTile::rows * start_stride;
      _tile_loadd(0, start, static_cast<std::size_t>(start_stride * element));
      _tile_loadd(1, start + half, static_cast<std::size_t>(start_stride * element));
      _tile_loadd(2, lower, static_cast<std::size_t>(start_stride * element));
      _tile_loadd(3, lower + half, static_cast<std::size_t>(start_stride * element));
    }
    Tiles a = tiles(rows);
    for (Index k = 0; k < depth; k += AmxTile::pairs) {
      _tile_loadd(4, a.upper, static_cast<std::size_t>(a.stride));
      _tile_loadd(6, b, Block::columns * sizeof(Packed));
      _tile_loadd(7, b + half, Block::columns * sizeof(Packed));
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if (asks_ahead)
        prefetch(b + b_ahead * AmxTile::pairs * Block::columns, AmxTile::pairs * Block::columns);
      _tile_loadd(5, a.lower, static_cast<std::size_t>(a.stride));
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      a.upper += a.step;
      a.lower += a.step;
      b += AmxTile::pairs * Block::columns;
    }
    T* lower = to + AmxTile::rows * to_stride;
    _tile_stored(0, to, static_cast<std::size_t>(to_stride * element));
    _tile_stored(1, to + half, static_cast<std::size_t>(to_stride * element));
    _tile_stored(2, lower, static_cast<std::size_t>(to_stride * element));
    _tile_stored(3, lower + half, static_cast<std::size_t>(to_stride * element));
    asm volatile("" ::: "memory");
  }

  // The same, slowly. Not inlined into what is fast.
  [[gnu::noinline]] static void accumulate_in_vectors(Index depth, Tiles a, const Packed* b, const T* start,
                                                      Index start_stride, T* to, Index to_stride) {
    using Sums = Simd<T, 64>;
    using Pairs = Simd<Packed, 64>;
    constexpr Index some = 8, vectors = Block::columns / Sums::lanes;  // sums that registers hold
    for (Index row = 0; row < Block::rows; row += some) {
      const char* rows = (row < AmxTile::rows ? a.upper : a.lower) + row % AmxTile::rows * a.stride;
      typename Sums::Vector sums[some][vectors] = {};
      for (Index r = 0; r < some && start != nullptr; ++r) {
        for (Index v = 0; v < vectors; ++v)
          Sums::load(sums[r][v], start + (row + r) * start_stride + v * Sums::lanes);
      }
      for (Index k = 0; k < depth; ++k) {
        const char* column = rows + k / AmxTile::pairs * a.step + k % AmxTile::pairs * element_bytes;
        for (Index r = 0; r < some; ++r) {
          Packed factor;
          std::memcpy(&factor, column + r * a.stride, sizeof factor);
          for (Index v = 0; v < vectors; ++v) {
            typename Pairs::Vector right;
            Pairs::load(right, b + k * Block::columns + v * Pairs::lanes);
            Numbers::multiply_add<64>(sums[r][v], factor - typename Pairs::Vector{}, right);
          }
        }
      }
      for (Index r = 0; r < some; ++r) {
        for (Index v = 0; v < vectors; ++v)
          Sums::store(sums[r][v], to + (row + r) * to_stride + v * Sums::lanes);
      }
    }
  }

  static void store(const T* sums, MatrixView<T> c, const GemmEpilogue<T>& epilogue) {
    for (Index row = 0; row < c.rows; ++row, sums += Block::columns) {
      T* to = c.data + row * c.row_stride;
      for (Index column = 0; column < c.columns; ++column) {
        const T before = epilogue.accumulate ? to[column] : T{0};
        const T bias = epilogue.bias == nullptr ? T{0} : epilogue.bias[column];
        to[column] = before + sums[column] + bias;
      }
    }
  }
};

}  // namespace exfusion::kernels::detail
