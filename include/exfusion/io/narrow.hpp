#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/io/dtype.hpp>

namespace exfusion::io {

namespace detail {

/// Throws ConfigError unless a finite value has stayed one.
inline void check_narrow(double value, float stored, Dtype dtype, float largest) {
  if (std::isfinite(value) && !std::isfinite(stored))
    throw ConfigError("weights", "the weight ", value, " is beyond ", info(dtype).name, ", which ends at ",
                      largest);
}

}  // namespace detail

/// `values` as bytes of F32, F16 or BF16, each rounded to the nearest (doubles by way of float), to even
/// where two are as near. Throws ConfigError when the dtype ends before one.
template <Scalar T>
std::vector<std::byte> narrowed(std::span<const T> values, Dtype dtype) {
  std::vector<std::byte> bytes(values.size() * info(dtype).bytes);
  const auto store = [&](std::size_t i, auto number) {
    std::memcpy(bytes.data() + i * sizeof number, &number, sizeof number);
  };
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto exact = static_cast<double>(values[i]);
    const auto value = static_cast<float>(exact);
    if (dtype == Dtype::F32) {
      detail::check_narrow(exact, value, dtype, std::numeric_limits<float>::max());
      store(i, value);
    } else if (dtype == Dtype::F16) {
      const std::uint16_t half = to_float16(value);
      detail::check_narrow(exact, from_float16(half), dtype, 65504);
      store(i, half);
    } else {
      const Bfloat16 brief = Bfloat16::from(value);
      detail::check_narrow(exact, static_cast<float>(brief), dtype, 0x1.FEp127F);
      store(i, brief);
    }
  }
  return bytes;
}

}  // namespace exfusion::io
