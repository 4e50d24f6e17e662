#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/io/dtype.hpp>

namespace exfusion::io {

namespace detail {

/// `value` in half precision. Throws ConfigError when it is finite and beyond F16's range.
inline std::uint16_t checked_float16(float value) {
  const std::uint16_t half = to_float16(value);
  if (std::isfinite(value) && !std::isfinite(from_float16(half)))
    throw ConfigError("weights", "the weight ", value,
                      " is beyond F16, which ends at 65504: store F32 or BF16");
  return half;
}

}  // namespace detail

/// `values` as bytes of F32, F16 or BF16, each rounded to the nearest, to even where two are as near. Throws
/// ConfigError when F16 cannot hold one.
template <Scalar T>
std::vector<std::byte> narrowed(std::span<const T> values, Dtype dtype) {
  std::vector<std::byte> bytes(values.size() * info(dtype).bytes);
  const auto store = [&](std::size_t i, auto number) {
    std::memcpy(bytes.data() + i * sizeof number, &number, sizeof number);
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    if (dtype == Dtype::F32) store(i, value);
    if (dtype == Dtype::F16) store(i, detail::checked_float16(value));
    if (dtype == Dtype::BF16) store(i, Bfloat16::from(value));
  }
  return bytes;
}

}  // namespace exfusion::io
