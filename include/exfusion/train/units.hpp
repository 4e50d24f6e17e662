#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include <exfusion/core/scalar.hpp>

namespace exfusion::train {

/// 93 as "1:33", 3725 as "1:02:05".
inline std::string clock_text(double seconds) {
  const auto total = static_cast<long long>(std::llround(std::clamp(seconds, 0.0, 3.6e9)));
  char text[32];
  if (total < 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld", total / 60, total % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  }
  return text;
}

/// 1234567 as "1.23M", 12345 as "12.3k", 987 as "987": three digits.
inline std::string count_text(double count) {
  const char* unit = "";
  for (const char* larger : {"k", "M", "G"}) {
    if (count < 999.5) break;
    count /= 1000;
    unit = larger;
  }
  const bool whole = *unit == '\0' || count >= 99.95;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%s", whole ? 0 : count >= 9.995 ? 1 : 2, count, unit);
  return text;
}

/// 1536 as "1.5 KiB".
inline std::string byte_text(double bytes) {
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = larger;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", *unit == 'B' ? 0 : 1, bytes, unit);
  return text;
}

/// 1234567 as "1,234,567".
inline std::string with_commas(Index value) {
  std::string digits = std::to_string(value), text;
  if (value < 0) {
    text += '-';
    digits.erase(0, 1);
  }
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

}  // namespace exfusion::train
