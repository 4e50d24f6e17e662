#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/data/gpt2_words.hpp>

namespace exfusion::data {

/// Two tokens that become one.
struct BpeMerge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t merged = 0;

  bool operator==(const BpeMerge&) const = default;
};

/// Byte-level byte pair encoding as GPT-2 uses it (Radford et al. 2019; Sennrich et al., arXiv 1508.07909): a
/// text is cut into words (gpt2_words.hpp), each word begins as its bytes, and the pair of neighbours with
/// the lowest rank becomes one token until there is none. Any bytes can be encoded, and decoding gives them
/// back. Copies share the tables.
class BpeTokenizer {
 public:
  /// No tokens.
  BpeTokenizer() = default;

  /// `tokens`: the bytes of each; every single byte must be among them. `merges`: in order of their rank.
  /// `special`: tokens that no text turns into. Throws ConfigError when a byte is missing or a merge names a
  /// token that does not exist or is not its two parts.
  BpeTokenizer(std::vector<std::string> tokens, std::vector<BpeMerge> merges,
               std::map<std::string, std::int32_t> special = {}) {
    auto tables = std::make_shared<Tables>();
    tables->tokens = std::move(tokens);
    tables->merges = std::move(merges);
    tables->special = std::move(special);
    index_bytes(*tables);
    index_merges(*tables);
    tables_ = std::move(tables);
  }

  Index vocab_size() const { return std::ssize(tables().tokens); }
  /// In order of their rank.
  const std::vector<BpeMerge>& merges() const { return tables().merges; }
  /// Tokens that no text turns into, by name.
  const std::map<std::string, std::int32_t>& special() const { return tables().special; }
  /// The token <|endoftext|>; none if the vocabulary has none.
  std::optional<std::int32_t> end_of_text() const {
    const auto found = special().find("<|endoftext|>");
    return found == special().end() ? std::nullopt : std::optional(found->second);
  }

  bool operator==(const BpeTokenizer& other) const {
    return tables_ == other.tables_ || (tables().tokens == other.tables().tokens &&
                                        merges() == other.merges() && special() == other.special());
  }

  /// The bytes of one token. Throws ShapeError when there is no such token.
  const std::string& decode(std::int32_t token) const {
    if (token < 0 || token >= vocab_size()) {
      throw ShapeError("bpe", "token ", token, " is not in the vocabulary of ", vocab_size());
    }
    return tables().tokens[static_cast<std::size_t>(token)];
  }

  /// The bytes of several, joined.
  std::string decode(std::span<const std::int32_t> tokens) const {
    std::string text;
    for (const std::int32_t token : tokens) text += decode(token);
    return text;
  }

  /// The tokens of a text. What looks like a special token, such as <|endoftext|>, is text here.
  std::vector<std::int32_t> encode(std::string_view text) const;

 private:
  friend class BpeEncoder;

  struct Tables {
    std::vector<std::string> tokens;
    std::vector<BpeMerge> merges;
    std::map<std::string, std::int32_t> special;
    std::array<std::int32_t, 256> bytes{};
    std::unordered_map<std::uint64_t, std::int32_t> ranks;  // of pairs
  };

  const Tables& tables() const {
    static const Tables none;
    return tables_ ? *tables_ : none;
  }

  static std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
    return (static_cast<std::uint64_t>(left) << 32) | static_cast<std::uint32_t>(right);
  }

  static void index_bytes(Tables& tables) {
    tables.bytes.fill(-1);
    for (std::size_t i = 0; i < tables.tokens.size(); ++i) {
      if (tables.tokens[i].size() != 1) continue;
      auto& place = tables.bytes[static_cast<unsigned char>(tables.tokens[i][0])];
      if (place < 0) place = static_cast<std::int32_t>(i);
    }
    for (std::size_t byte = 0; byte < 256; ++byte) {
      if (tables.bytes[byte] < 0) throw ConfigError("bpe", "the vocabulary has no token for byte ", byte);
    }
  }

  static void index_merges(Tables& tables) {
    const auto size = std::ssize(tables.tokens);
    tables.ranks.reserve(tables.merges.size());
    for (std::size_t rank = 0; rank < tables.merges.size(); ++rank) {
      const auto [left, right, merged] = tables.merges[rank];
      for (const std::int32_t token : {left, right, merged}) {
        if (token < 0 || token >= size)
          throw ConfigError("bpe", "merge ", rank, " names token ", token, " of a vocabulary of ", size);
      }
      const auto at = [&](std::int32_t token) { return tables.tokens[static_cast<std::size_t>(token)]; };
      if (at(left) + at(right) != at(merged))
        throw ConfigError("bpe", "token ", merged, " is not what merge ", rank, " joins");
      tables.ranks.emplace(pair_key(left, right), static_cast<std::int32_t>(rank));  // the first counts
    }
  }

  std::shared_ptr<const Tables> tables_;
};

/// Encodes many texts with one tokenizer: remembers the tokens of words that it has met. For one thread; the
/// tokenizer's tables are shared.
class BpeEncoder {
 public:
  explicit BpeEncoder(BpeTokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {
    if (tokenizer_.vocab_size() == 0) throw ConfigError("bpe", "the tokenizer has no tokens");
  }

  const BpeTokenizer& tokenizer() const { return tokenizer_; }

  /// Appends the tokens of a text.
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) {
    constexpr std::size_t few_bytes = 1U << 14;  // for which memory is not worth its while
    encoded_bytes_ += text.size();
    if (!known_ && encoded_bytes_ > few_bytes) known_ = std::make_unique<Known[]>(known_words);
    for_each_gpt2_word(text, [&](std::string_view word) { encode_word(word, tokens); });
  }

 private:
  // One cache line: a word and its tokens.
  struct alignas(64) Known {
    static constexpr std::size_t most_bytes = 24;
    static constexpr std::size_t most_tokens = 9;

    std::array<char, most_bytes> word;  // filled up with zeros
    std::uint8_t bytes = 0;             // 0: nothing is known here
    std::uint8_t count = 0;
    std::array<std::int32_t, most_tokens> tokens;
  };
  static constexpr std::size_t known_words = std::size_t{1} << 15;

  struct Part {
    std::int32_t token;
    std::int32_t before;
    std::int32_t after;
  };

  /// The place of a word in the table: three 64-bit parts, multiplied and folded.
  static std::size_t place_of(const std::array<char, Known::most_bytes>& word, std::size_t bytes) {
    std::array<std::uint64_t, 3> parts;
    std::memcpy(parts.data(), word.data(), sizeof parts);
    std::uint64_t hash = bytes;
    for (const std::uint64_t part : parts) {
      hash = (hash ^ part) * 0x9E3779B97F4A7C15U;
      hash ^= hash >> 32;
    }
    return hash & (known_words - 1);
  }

  void encode_word(std::string_view word, std::vector<std::int32_t>& tokens) {
    if (!known_ || word.size() > Known::most_bytes) {
      merge(word, tokens);
      return;
    }
    std::array<char, Known::most_bytes> padded{};
    std::memcpy(padded.data(), word.data(), word.size());
    Known& known = known_[place_of(padded, word.size())];
    if (known.bytes != word.size() || known.word != padded) {
      const std::size_t before = tokens.size();
      merge(word, tokens);
      const std::size_t count = tokens.size() - before;
      if (count > Known::most_tokens) return;
      known.word = padded;
      known.bytes = static_cast<std::uint8_t>(word.size());
      known.count = static_cast<std::uint8_t>(count);
      std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(before), count, known.tokens.begin());
      return;
    }
    tokens.insert(tokens.end(), known.tokens.begin(), known.tokens.begin() + known.count);
  }

  /// Notes that the pair that begins at part `left` can become one.
  void offer(std::int32_t left) {
    const Part& part = parts_[static_cast<std::size_t>(left)];
    if (part.after < 0) return;
    const auto& ranks = tokenizer_.tables_->ranks;
    const auto found =
        ranks.find(BpeTokenizer::pair_key(part.token, parts_[static_cast<std::size_t>(part.after)].token));
    if (found != ranks.end()) pairs_.emplace(found->second, left);
  }

  /// Joins the pair that begins at part `left` if it still is the one of `rank`.
  void join(std::int32_t rank, std::int32_t left) {
    const BpeMerge& merge = tokenizer_.tables_->merges[static_cast<std::size_t>(rank)];
    Part& part = parts_[static_cast<std::size_t>(left)];
    if (part.token != merge.left || part.after < 0) return;
    Part& next = parts_[static_cast<std::size_t>(part.after)];
    if (next.token != merge.right) return;
    part.token = merge.merged;
    part.after = next.after;
    next.token = -1;
    if (part.after >= 0) parts_[static_cast<std::size_t>(part.after)].before = left;
    if (part.before >= 0) offer(part.before);
    offer(left);
  }

  /// Appends the tokens of a word that is not known. Time: n log n in its bytes.
  void merge(std::string_view word, std::vector<std::int32_t>& tokens) {
    if (word.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
      throw FormatError("text", "has a word of ", word.size(), " bytes, without white space");
    parts_.clear();
    for (const char byte : word) {
      const auto place = static_cast<std::int32_t>(parts_.size());
      parts_.push_back({tokenizer_.tables_->bytes[static_cast<unsigned char>(byte)], place - 1, place + 1});
    }
    parts_.back().after = -1;
    for (std::int32_t i = 0; i < std::ssize(parts_); ++i) offer(i);
    while (!pairs_.empty()) {
      const auto [rank, left] = pairs_.top();
      pairs_.pop();
      join(rank, left);
    }
    for (std::int32_t i = 0; i >= 0; i = parts_[static_cast<std::size_t>(i)].after)
      tokens.push_back(parts_[static_cast<std::size_t>(i)].token);
  }

  using RankedPair = std::pair<std::int32_t, std::int32_t>;  // rank, place of the left part

  BpeTokenizer tokenizer_;
  std::size_t encoded_bytes_ = 0;
  std::unique_ptr<Known[]> known_;  // null at first
  std::vector<Part> parts_;
  std::priority_queue<RankedPair, std::vector<RankedPair>, std::greater<>> pairs_;
};

inline std::vector<std::int32_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  BpeEncoder(*this).encode(text, tokens);
  return tokens;
}

}  // namespace exfusion::data
