#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <exfusion/data/bpe_file.hpp>

namespace exfusion::data {

/// Learns a byte-level BPE vocabulary from texts: `add` each of them, or each part of one that
/// `last_gpt2_cut` cuts off, then `train`. Of pairs that occur equally often the one with the smaller tokens
/// is merged first, as Hugging Face's tokenizers do it.
class BpeTrainer {
 public:
  /// Counts the words of a text.
  void add(std::string_view text) {
    for_each_gpt2_word(text, [this](std::string_view word) {
      const auto found = words_.find(word);
      if (found == words_.end()) {
        words_.emplace(word, 1);
      } else {
        ++found->second;
      }
    });
  }

  /// A vocabulary of so many tokens: the bytes in GPT-2's order, what was merged, <|endoftext|>. It is
  /// smaller when no pair occurs twice any more. Throws ConfigError when `vocab_size` is below 257.
  BpeTokenizer train(Index vocab_size) const {
    if (vocab_size < smallest) {
      throw ConfigError("bpe", "a vocabulary of ", vocab_size, " tokens: at least ", smallest,
                        " are needed, the bytes and the end of a text");
    }
    Merging merging(words_);
    while (std::ssize(merging.tokens) < vocab_size - 1 && merging.merge_next()) {
    }
    const auto end = static_cast<std::int32_t>(merging.tokens.size());
    merging.tokens.emplace_back("<|endoftext|>");
    return {std::move(merging.tokens), std::move(merging.merges), {{"<|endoftext|>", end}}};
  }

 private:
  static constexpr Index smallest = 257;

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Words = std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>>;
  using Pair = std::pair<std::int32_t, std::int32_t>;

  struct PairHash {
    std::size_t operator()(const Pair& pair) const {
      const auto key =
          (static_cast<std::uint64_t>(pair.first) << 32) | static_cast<std::uint32_t>(pair.second);
      return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15U) >> 16);
    }
  };

  /// The words as tokens, and how often each pair of neighbours occurs.
  struct Merging {
    struct Word {
      std::vector<std::int32_t> tokens;
      std::int64_t count;
    };
    struct PairUse {
      std::int64_t count = 0;
      std::vector<std::uint32_t> words;  // where it occurs or occurred
    };
    struct Candidate {
      std::int64_t count;
      Pair pair;
      bool operator<(const Candidate& other) const {
        return count != other.count ? count < other.count : pair > other.pair;
      }
    };

    std::vector<std::string> tokens;
    std::vector<BpeMerge> merges;

    explicit Merging(const Words& counted) {
      std::array<std::int32_t, 256> ids{};
      std::map<char32_t, std::size_t> order;
      for (std::size_t byte = 0; byte < 256; ++byte) order[detail::byte_characters()[byte]] = byte;
      for (const auto& [character, byte] : order) {
        ids[byte] = static_cast<std::int32_t>(tokens.size());
        tokens.emplace_back(1, static_cast<char>(static_cast<unsigned char>(byte)));
      }
      for (const auto& [text, count] : counted) {
        Word word{.tokens = {}, .count = count};
        for (const char byte : text) word.tokens.push_back(ids[static_cast<unsigned char>(byte)]);
        words.push_back(std::move(word));
        note_pairs(static_cast<std::uint32_t>(words.size() - 1), words.back().count);
      }
      for (const auto& [pair, use] : uses) candidates.push({use.count, pair});
    }

    /// Makes the most frequent pair a token. False when none occurs twice.
    bool merge_next() {
      while (!candidates.empty()) {
        const auto [count, pair] = candidates.top();
        candidates.pop();
        const std::int64_t now = uses[pair].count;
        if (now < 2) continue;
        if (now == count) {
          merge(pair);
          return true;
        }
        candidates.push({now, pair});
      }
      return false;
    }

   private:
    /// Adds `count` to every pair of a word; new pairs note where they are.
    void note_pairs(std::uint32_t place, std::int64_t count) {
      const auto& sequence = words[place].tokens;
      for (std::size_t i = 0; i + 1 < sequence.size(); ++i) {
        const Pair pair{sequence[i], sequence[i + 1]};
        PairUse& use = uses[pair];
        use.count += count;
        if (count < 0) continue;
        if (use.words.empty() || use.words.back() != place) use.words.push_back(place);
        grown.push_back(pair);
      }
    }

    void merge(Pair pair) {
      const auto merged = static_cast<std::int32_t>(tokens.size());
      tokens.push_back(tokens[static_cast<std::size_t>(pair.first)] +
                       tokens[static_cast<std::size_t>(pair.second)]);
      merges.push_back({pair.first, pair.second, merged});
      std::vector<std::uint32_t> places = std::exchange(uses[pair].words, {});
      std::ranges::sort(places);
      places.erase(std::unique(places.begin(), places.end()), places.end());
      grown.clear();
      for (const std::uint32_t place : places) {
        note_pairs(place, -words[place].count);
        join(words[place].tokens, pair, merged);
        note_pairs(place, words[place].count);
      }
      std::ranges::sort(grown);
      grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
      for (const Pair& one : grown) {
        if (one.first == merged || one.second == merged) candidates.push({uses[one].count, one});
      }
    }

    static void join(std::vector<std::int32_t>& sequence, Pair pair, std::int32_t merged) {
      std::size_t kept = 0;
      for (std::size_t i = 0; i < sequence.size(); ++i) {
        const bool is_pair = i + 1 < sequence.size() && Pair{sequence[i], sequence[i + 1]} == pair;
        sequence[kept++] = is_pair ? merged : sequence[i];
        i += is_pair;
      }
      sequence.resize(kept);
    }

    std::vector<Word> words;
    std::unordered_map<Pair, PairUse, PairHash> uses;
    std::priority_queue<Candidate> candidates;
    std::vector<Pair> grown;  // pairs that a merge has made more frequent
  };

  Words words_;
};

}  // namespace exfusion::data
