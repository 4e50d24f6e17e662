#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace exfusion {

/// A number in bfloat16: the upper half of a float, 8 bits of precision with float's range.
struct Bfloat16 {
  std::uint16_t bits;

  /// Exact.
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

  /// The nearest bfloat16, ties to even; what is beyond its range becomes infinite, NaN stays NaN. Without
  /// branches, so that loops over it vectorise.
  static Bfloat16 from(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = word + 0x7FFFU + ((word >> 16) & 1U);
    return {static_cast<std::uint16_t>((std::isnan(value) ? word | 0x400000U : rounded) >> 16)};
  }

  friend bool operator==(Bfloat16, Bfloat16) = default;
};

}  // namespace exfusion
