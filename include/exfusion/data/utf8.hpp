#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <exfusion/core/error.hpp>

namespace exfusion::data {

namespace detail {

/// Decodes the character at `offset`, which is inside the text: its code point goes into `value`. Returns its
/// length in bytes; 0: no valid character begins there (overlong forms, surrogates and values over U+10FFFF
/// are invalid; RFC 3629).
inline std::size_t decode_utf8(std::string_view text, std::size_t offset, char32_t& value) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(offset);
  value = lead;
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (lead < 0xC2 || lead > 0xF4 || offset + length > text.size()) return 0;
  value = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(offset + i) & 0xC0U) != 0x80U) return 0;
    value = (value << 6) | (byte(offset + i) & 0x3FU);
  }
  const bool is_valid =
      value >= smallest[length] && value <= 0x10FFFF && !(value >= 0xD800 && value <= 0xDFFF);
  return is_valid ? length : 0;
}

/// The code point at `offset`, which moves past it. Throws FormatError naming the byte where the text stops
/// being valid UTF-8.
inline char32_t next_code_point(std::string_view text, std::size_t& offset, std::string_view where) {
  char32_t value = 0;
  const std::size_t length = decode_utf8(text, offset, value);
  if (length == 0) throw FormatError(where, "is not UTF-8 text: no valid character begins at byte ", offset);
  offset += length;
  return value;
}

inline void append_utf8(std::string& text, char32_t value) {
  const auto append = [&](char32_t byte) {
    text.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
  };
  if (value < 0x80) return append(value);
  if (value < 0x800) {
    append(0xC0U | (value >> 6));
  } else if (value < 0x10000) {
    append(0xE0U | (value >> 12));
    append(0x80U | ((value >> 6) & 0x3FU));
  } else {
    append(0xF0U | (value >> 18));
    append(0x80U | ((value >> 12) & 0x3FU));
    append(0x80U | ((value >> 6) & 0x3FU));
  }
  append(0x80U | (value & 0x3FU));
}

}  // namespace detail

}  // namespace exfusion::data
