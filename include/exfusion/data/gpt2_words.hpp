#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <exfusion/data/unicode_tables.hpp>
#include <exfusion/data/utf8.hpp>

// How GPT-2's tokenizer cuts a text into words, within which it merges bytes:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

namespace exfusion::data {

namespace detail {

enum class CharClass : std::uint8_t { other, letter, number, space };

/// The class of every code point. A function of its own, as compilers would try to compute the table were it
/// written into its variable's initializer, which takes them more than a second.
inline std::vector<CharClass> make_char_classes() {
  std::vector<CharClass> table(0x110000, CharClass::other);
  const auto fill = [&table](const auto& ranges, CharClass kind) {
    for (const auto& [first, last] : ranges) std::fill(table.begin() + first, table.begin() + last + 1, kind);
  };
  fill(letter_ranges, CharClass::letter);
  fill(number_ranges, CharClass::number);
  fill(space_ranges, CharClass::space);
  return table;
}

inline const std::vector<CharClass>& char_classes() {
  static const std::vector<CharClass> classes = make_char_classes();
  return classes;
}

/// One character of a text. A byte that does not belong to valid UTF-8 counts as one of class `other`.
struct TextChar {
  CharClass kind;
  std::size_t length;
};

class Gpt2WordCutter {
 public:
  explicit Gpt2WordCutter(std::string_view text) : text_(text), classes_(char_classes().data()) {}

  /// Where the word ends that begins at `begin`, which is inside the text.
  std::size_t word_end(std::size_t begin) const {
    if (const std::size_t length = contraction(begin)) return begin + length;
    const TextChar first = at(begin);
    if (first.kind != CharClass::space) return run_end(begin + first.length, first.kind);
    std::size_t end = begin + 1;
    if (text_[begin] == ' ' && end < text_.size()) {
      const TextChar next = at(end);
      if (next.kind != CharClass::space) return run_end(end + next.length, next.kind);
    }
    return spaces_end(begin);
  }

  TextChar at(std::size_t place) const {
    const auto byte = static_cast<unsigned char>(text_[place]);
    if (byte < 0x80) return {classes_[byte], 1};
    char32_t value = 0;
    const std::size_t length = decode_utf8(text_, place, value);
    return length == 0 ? TextChar{CharClass::other, 1} : TextChar{classes_[value], length};
  }

 private:
  /// The length of 's, 't, 're, 've, 'm, 'll or 'd; 0: none is here.
  std::size_t contraction(std::size_t begin) const {
    if (text_[begin] != '\'') return 0;
    const std::string_view after = text_.substr(begin + 1, 2);
    if (after.empty()) return 0;
    if (std::string_view("stmd").find(after[0]) != std::string_view::npos) return 2;
    return after == "re" || after == "ve" || after == "ll" ? 3 : 0;
  }

  std::size_t run_end(std::size_t place, CharClass kind) const {
    while (place < text_.size()) {
      const TextChar next = at(place);
      if (next.kind != kind) break;
      place += next.length;
    }
    return place;
  }

  /// White space, of which the last character is left to the word that follows unless it is the only one.
  std::size_t spaces_end(std::size_t begin) const {
    std::size_t end = begin, last = begin;
    while (end < text_.size()) {
      const TextChar next = at(end);
      if (next.kind != CharClass::space) return last > begin ? last : end;
      last = end;
      end += next.length;
    }
    return end;
  }

  std::string_view text_;
  const CharClass* classes_;
};

}  // namespace detail

/// Calls `use(word)` for the words of a text, in order; together they are the text.
template <class Use>
void for_each_gpt2_word(std::string_view text, const Use& use) {
  const detail::Gpt2WordCutter cutter(text);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = cutter.word_end(begin);
    use(text.substr(begin, end - begin));
    begin = end;
  }
}

/// A place where the text can be cut so that the words of both parts are those of the whole, as late as there
/// is one: before ASCII white space after something else. 0: there is none.
inline std::size_t last_gpt2_cut(std::string_view text) {
  const detail::Gpt2WordCutter cutter(text);
  for (std::size_t cut = text.size(); cut-- > 1;) {
    const char here = text[cut];
    if (here != ' ' && !(here >= '\t' && here <= '\r')) continue;
    std::size_t before = cut - 1;
    while (before > 0 && cut - before < 4 && (static_cast<unsigned char>(text[before]) & 0xC0U) == 0x80U)
      --before;
    const detail::TextChar previous = cutter.at(before);
    if (previous.kind != detail::CharClass::space || before + previous.length != cut) return cut;
  }
  return 0;
}

}  // namespace exfusion::data
