#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <exfusion/data/bpe.hpp>
#include <exfusion/data/char_tokenizer.hpp>

namespace exfusion::data {

/// Either kind of tokenizer, chosen when the program runs. `tokenizer_file.hpp` saves and loads it.
class Tokenizer {
 public:
  /// No tokens.
  Tokenizer() = default;
  Tokenizer(CharTokenizer characters)
      : kind_(std::move(characters)) {}                   // NOLINT(google-explicit-constructor)
  Tokenizer(BpeTokenizer bpe) : kind_(std::move(bpe)) {}  // NOLINT(google-explicit-constructor)

  Index vocab_size() const {
    return std::visit([](const auto& kind) { return kind.vocab_size(); }, kind_);
  }

  /// The tokens of a text. Throws, for characters only, FormatError when it is not UTF-8 and Error naming a
  /// character that the vocabulary lacks; both in the name of `where`.
  std::vector<std::int32_t> encode(std::string_view text, std::string_view where = "text") const {
    if (const auto* bpe = std::get_if<BpeTokenizer>(&kind_)) return bpe->encode(text);
    return std::get<CharTokenizer>(kind_).encode(text, where);
  }

  /// The bytes that tokens stand for. One token of a BPE may be a part of a character. Throws Error naming a
  /// token outside the vocabulary.
  std::string decode(std::span<const std::int32_t> tokens) const {
    return std::visit([&](const auto& kind) { return std::string(kind.decode(tokens)); }, kind_);
  }
  std::string decode(std::int32_t token) const { return decode({&token, 1}); }

  /// The token that ends a text; characters have none.
  std::optional<std::int32_t> end_of_text() const {
    const auto* bpe = std::get_if<BpeTokenizer>(&kind_);
    return bpe == nullptr ? std::nullopt : bpe->end_of_text();
  }

  /// What a token is called: "characters" or "tokens".
  const char* unit() const { return std::holds_alternative<CharTokenizer>(kind_) ? "characters" : "tokens"; }

  const std::variant<CharTokenizer, BpeTokenizer>& kind() const { return kind_; }

  bool operator==(const Tokenizer&) const = default;

 private:
  std::variant<CharTokenizer, BpeTokenizer> kind_;
};

}  // namespace exfusion::data
