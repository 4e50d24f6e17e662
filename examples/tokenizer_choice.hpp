#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::examples {

/// N where --tokenizer is bpe:N: the size of a vocabulary to be learned. Throws ConfigError when N is no
/// number up to a million.
inline std::optional<Index> size_to_learn(const std::string& tokenizer) {
  constexpr std::string_view learned = "bpe:";
  if (!tokenizer.starts_with(learned)) return std::nullopt;
  Index size = 0;
  const char* end = tokenizer.data() + tokenizer.size();
  const auto [place, error] = std::from_chars(tokenizer.data() + learned.size(), end, size);
  if (error == std::errc() && place == end && size <= 1'000'000) return size;
  throw ConfigError("--tokenizer", "is '", tokenizer,
                    "': after bpe: a number of tokens is needed, such as bpe:4096");
}

}  // namespace exfusion::examples
