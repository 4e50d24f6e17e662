#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <exfusion/data/utf8.hpp>

namespace exfusion::data {

/// Holds back the bytes of a character until all are there: tokens may end inside one, and a terminal shows
/// half of one as damage. Bytes that belong to no character pass as they are.
class Utf8Stream {
 public:
  /// What can be shown after these bytes.
  std::string push(std::string_view bytes) {
    held_ += bytes;
    std::size_t end = 0;
    while (end < held_.size() && !is_begun(std::string_view(held_).substr(end))) {
      char32_t value = 0;
      end += std::max<std::size_t>(1, detail::decode_utf8(held_, end, value));
    }
    std::string shown = held_.substr(0, end);
    held_.erase(0, end);
    return shown;
  }

  /// What is left at the end of the text: the beginning of a character.
  std::string finish() { return std::exchange(held_, {}); }

 private:
  /// Whether `bytes` could be the beginning of one character that more bytes complete.
  static bool is_begun(std::string_view bytes) {
    for (std::size_t missing = 1; bytes.size() + missing <= 4; ++missing) {
      // Where a character can go on, it can with the smallest or with the largest of bytes.
      for (const char next : {'\x80', '\xBF'}) {
        std::string whole(bytes);
        whole.append(missing, next);
        char32_t value = 0;
        if (detail::decode_utf8(whole, 0, value) == whole.size()) return true;
      }
    }
    return false;
  }

  std::string held_;
};

}  // namespace exfusion::data
