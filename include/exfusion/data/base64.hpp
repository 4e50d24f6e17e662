#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace exfusion::data {

/// Bytes as base64 text with padding (RFC 4648, section 4), as data: URIs and JSON take them.
inline std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = i; k < i + 3; ++k) {
      group = group << 8 | (k < bytes.size() ? static_cast<std::uint8_t>(bytes[k]) : 0U);
    }
    for (unsigned shift = 18; shift > 0; shift -= 6) text += digits[group >> shift & 63U];
    text += digits[group & 63U];
  }
  const std::size_t padding = (3 - bytes.size() % 3) % 3;
  return text.replace(text.size() - padding, padding, padding, '=');
}

}  // namespace exfusion::data
