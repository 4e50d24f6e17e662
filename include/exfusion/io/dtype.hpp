#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include <exfusion/core/scalar.hpp>

namespace exfusion::io {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they are");

/// How a file stores the numbers of a tensor, by the names of the safetensors format.
enum class Dtype { F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL };

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;
  std::size_t bytes;
};

inline constexpr std::array<DtypeInfo, 10> dtypes{{{Dtype::F64, "F64", 8},
                                                   {Dtype::F32, "F32", 4},
                                                   {Dtype::F16, "F16", 2},
                                                   {Dtype::BF16, "BF16", 2},
                                                   {Dtype::I64, "I64", 8},
                                                   {Dtype::I32, "I32", 4},
                                                   {Dtype::I16, "I16", 2},
                                                   {Dtype::I8, "I8", 1},
                                                   {Dtype::U8, "U8", 1},
                                                   {Dtype::BOOL, "BOOL", 1}}};

constexpr const DtypeInfo& info(Dtype dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

/// The dtype called `name`, if it is one of the ten.
constexpr std::optional<Dtype> dtype_named(std::string_view name) {
  for (const DtypeInfo& candidate : dtypes) {
    if (candidate.name == name) return candidate.dtype;
  }
  return std::nullopt;
}

constexpr bool is_floating(Dtype dtype) { return dtype <= Dtype::BF16; }

/// The dtype that holds a `T` without loss.
template <Scalar T>
inline constexpr Dtype dtype_of = std::same_as<T, float> ? Dtype::F32 : Dtype::F64;

/// IEEE 754 half precision. Exact, subnormal numbers, infinities and NaN included.
inline float from_float16(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  const float sign = (bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return sign *
           (fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN());
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
}

/// The nearest number in half precision, to even where two are as near; NaN stays NaN, what is too large
/// becomes infinite.
inline std::uint16_t to_float16(float value) {
  constexpr std::uint32_t infinity = 0x7f800000U, smallest_normal = 0x38800000U, too_large = 0x47800000U;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U, magnitude = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (magnitude > infinity) {
    half = 0x7e00U;
  } else if (magnitude >= too_large) {
    half = 0x7c00U;
  } else if (magnitude < smallest_normal) {
    half = static_cast<std::uint32_t>(std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24F));
  } else {
    half = (magnitude + 0xfffU + ((magnitude >> 13) & 1U) - (112U << 23)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

/// One `Stored` value at an address of any alignment.
template <class Stored>
Stored load_unaligned(const std::byte* from) {
  Stored value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace exfusion::io
