#pragma once

#include <bit>
#include <cstdint>
#include <iomanip>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/data/utf8.hpp>

namespace exfusion::data {

namespace detail {

/// A character as an error message shows it: 'x' (U+0078), control characters by number alone.
inline std::string describe_character(char32_t value) {
  std::ostringstream text;
  if (value >= 0x20 && (value < 0x7F || value >= 0xA0)) {
    std::string character;
    append_utf8(character, value);
    text << '\'' << character << "' ";
  }
  text << "(U+" << std::hex << std::uppercase << std::setw(4) << std::setfill('0')
       << static_cast<std::uint32_t>(value) << ')';
  return text.str();
}

}  // namespace detail

/// One token for each Unicode character of a vocabulary. `vocabulary_file.hpp` saves and loads it.
class CharTokenizer {
 public:
  /// The distinct characters of `text`, in the order of their code points. Throws FormatError, in the name
  /// of `where`, at the first byte that is not UTF-8.
  static CharTokenizer from_text(std::string_view text, std::string_view where = "text") {
    std::vector<std::uint64_t> seen(0x110000 / 64);  // a bit for each code point
    for (std::size_t offset = 0; offset < text.size();) {
      const char32_t value = detail::next_code_point(text, offset, where);
      seen[value / 64] |= std::uint64_t{1} << (value % 64);
    }
    std::vector<char32_t> characters;
    for (std::size_t word = 0; word < seen.size(); ++word) {
      for (std::uint64_t bits = seen[word]; bits != 0; bits &= bits - 1)
        characters.push_back(static_cast<char32_t>(64 * word) +
                             static_cast<char32_t>(std::countr_zero(bits)));
    }
    return CharTokenizer(std::move(characters));
  }

  /// Token i stands for the i-th character of `text`, as `text()` wrote it. Throws FormatError, in the name
  /// of `where`, when it is not UTF-8, ConfigError when a character occurs twice.
  static CharTokenizer from_characters(std::string_view text, std::string_view where = "text") {
    std::vector<char32_t> characters;
    for (std::size_t offset = 0; offset < text.size();)
      characters.push_back(detail::next_code_point(text, offset, where));
    return CharTokenizer(std::move(characters));
  }

  /// No characters.
  CharTokenizer() = default;

  /// Token i stands for characters[i]. Throws ConfigError when a character occurs twice.
  explicit CharTokenizer(std::vector<char32_t> characters) : characters_(std::move(characters)) {
    for (char32_t character : characters_) {
      const bool is_new = ids_.emplace(character, static_cast<std::int32_t>(ids_.size())).second;
      if (!is_new) {
        throw ConfigError("char_tokenizer", detail::describe_character(character), " occurs twice");
      }
    }
  }

  Index vocab_size() const { return static_cast<Index>(characters_.size()); }
  /// The vocabulary: the character of each token.
  const std::vector<char32_t>& characters() const { return characters_; }

  /// One token for each character. Throws FormatError when `text` is not UTF-8, Error naming a character
  /// that the vocabulary lacks; both in the name of `where`.
  std::vector<std::int32_t> encode(std::string_view text, std::string_view where = "char_tokenizer") const {
    std::vector<std::int32_t> tokens;
    tokens.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();) {
      const std::size_t begin = offset;
      const char32_t character = detail::next_code_point(text, offset, where);
      const auto place = ids_.find(character);
      if (place == ids_.end()) {
        throw Error(where, "the character ", detail::describe_character(character), " at byte ", begin,
                    " is not among the ", vocab_size(), " of the vocabulary");
      }
      tokens.push_back(place->second);
    }
    return tokens;
  }

  /// The tokens' characters as UTF-8. Throws Error naming a token outside the vocabulary.
  std::string decode(std::span<const std::int32_t> tokens) const {
    std::string text;
    text.reserve(tokens.size());
    for (std::int32_t token : tokens) {
      if (token < 0 || token >= vocab_size()) {
        throw Error("char_tokenizer", "token ", token, " is outside the vocabulary of ", vocab_size());
      }
      detail::append_utf8(text, characters_[static_cast<std::size_t>(token)]);
    }
    return text;
  }
  std::string decode(std::int32_t token) const { return decode({&token, 1}); }

  /// All characters in the order of their tokens, as UTF-8.
  std::string text() const {
    std::string text;
    for (char32_t character : characters_) detail::append_utf8(text, character);
    return text;
  }

  bool operator==(const CharTokenizer& other) const { return characters_ == other.characters_; }

 private:
  std::vector<char32_t> characters_;
  std::unordered_map<char32_t, std::int32_t> ids_;
};

}  // namespace exfusion::data
