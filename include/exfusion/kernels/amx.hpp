#pragma once

// Intel's AMX: registers that hold whole tiles of a matrix, and an instruction that multiplies two of them.
// It is there where EXFUSION_AMX is 1 and, when the program runs, `amx_is_permitted`.
#if defined(__linux__) && defined(__GNUC__) && defined(__AVX512BF16__) && \
    (defined(__AMX_BF16__) || defined(__AMXBF16__))
#define EXFUSION_AMX 1

#include <cstdint>
#include <optional>

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels::detail {

/// Whether this process may use tile registers. Linux grants them to those who ask, which the first call
/// does.
inline bool amx_is_permitted() {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return permitted;
}

/// Sizes of a full tile register: rows of 64 bytes.
struct AmxTile {
  static constexpr Index rows = 16;
  static constexpr Index pairs = 16;               ///< Pairs of bfloat16 numbers, or sums, in a row.
  static constexpr Index numbers = 2 * pairs;      ///< bfloat16 numbers in a row.
  static constexpr Index elements = rows * pairs;  ///< Pairs, or sums, in a tile.
};

/// While it exists, the tile registers of this thread are set up: 0 to 4 with `rows` rows, for sums and a
/// first factor, 5 to 7 with all of them.
template <Index rows>
class AmxRegisters {
 public:
  AmxRegisters() { _tile_loadconfig(&configuration); }
  AmxRegisters(const AmxRegisters&) = delete;
  AmxRegisters& operator=(const AmxRegisters&) = delete;
  ~AmxRegisters() { _tile_release(); }

 private:
  struct alignas(64) Configuration {
    std::uint8_t palette, start_row, reserved[14];
    std::uint16_t row_bytes[16];
    std::uint8_t rows_of_tile[16];
  };
  static constexpr Configuration configuration = {
      1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {rows, rows, rows, rows, rows, 16, 16, 16}};
};

/// The same, if the process may use them.
template <Index rows>
class AmxRegistersIfPermitted {
 public:
  AmxRegistersIfPermitted() {
    if (amx_is_permitted()) registers_.emplace();
  }

 private:
  std::optional<AmxRegisters<rows>> registers_;
};

}  // namespace exfusion::kernels::detail

#else
#define EXFUSION_AMX 0
#endif
