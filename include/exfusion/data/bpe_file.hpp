#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/data/bpe.hpp>
#include <exfusion/data/utf8.hpp>
#include <exfusion/io/json_config.hpp>

// Files of byte-level BPE: OpenAI's encoder.json and vocab.bpe, Hugging Face's vocab.json and merges.txt, and
// tokenizer.json. In all of them a byte is written as a character that can be seen.

namespace exfusion::data {

namespace detail {

/// The character that stands for each byte: itself where it can be seen, else U+0100 and up, in order.
inline const std::array<char32_t, 256>& byte_characters() {
  static const auto characters = [] {
    std::array<char32_t, 256> table{};
    char32_t next = 0x100;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const bool is_seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      table[byte] = is_seen ? static_cast<char32_t>(byte) : next++;
    }
    return table;
  }();
  return characters;
}

/// Bytes as those characters, in UTF-8.
inline std::string visible_bytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_utf8(text, byte_characters()[static_cast<unsigned char>(byte)]);
  return text;
}

/// The bytes that such a text means. Throws FormatError in the name of `where` for any other character.
inline std::string meant_bytes(std::string_view text, const std::string& where) {
  static const auto bytes = [] {
    std::unordered_map<char32_t, char> map;
    for (std::size_t byte = 0; byte < 256; ++byte)
      map[byte_characters()[byte]] = static_cast<char>(static_cast<unsigned char>(byte));
    return map;
  }();
  std::string meant;
  for (std::size_t at = 0; at < text.size();) {
    const auto found = bytes.find(next_code_point(text, at, where));
    if (found == bytes.end())
      throw FormatError(where, "has the token ", nlohmann::json(text).dump(),
                        ", whose characters mean no bytes");
    meant += found->second;
  }
  return meant;
}

/// Tokens and merges while they are read.
class BpeParts {
 public:
  explicit BpeParts(std::string where) : where_(std::move(where)) {}

  /// Takes a token as it stands in a file: in visible characters, unless it was taken as special before.
  /// Throws FormatError unless its id is new and small enough.
  void add(const std::string& text, const nlohmann::json& id) {
    if (const auto found = special_.find(text); found == special_.end()) {
      place(text, meant_bytes(text, where_), id);
    } else if (id != found->second) {
      throw FormatError(where_, "gives ", nlohmann::json(text).dump(), " two ids");
    }
  }

  /// Takes a token that stands for its own characters and that no text turns into. Throws FormatError when
  /// its name or its id is taken by another, or its id is too large.
  void add_special(const std::string& text, const nlohmann::json& id) {
    if (!ids_.contains(text)) place(text, text, id);
    if (ids_.at(text) != id) throw FormatError(where_, "gives ", nlohmann::json(text).dump(), " two ids");
    special_[text] = ids_.at(text);
  }

  void add_merge(const std::string& left, const std::string& right) {
    merges_.push_back({id_of(left), id_of(right), id_of(left + right)});
  }

  BpeTokenizer build() {
    std::vector<std::string> tokens(bytes_.size());
    for (auto& [id, bytes] : bytes_) {
      if (static_cast<std::size_t>(id) >= tokens.size())
        throw FormatError(where_, "has ", tokens.size(), " tokens, and one with the id ", id);
      tokens[static_cast<std::size_t>(id)] = std::move(bytes);
    }
    if (const auto end = ids_.find("<|endoftext|>"); end != ids_.end()) special_.insert(*end);
    try {
      return {std::move(tokens), std::move(merges_), std::move(special_)};
    } catch (const ConfigError& error) {
      throw FormatError(where_, error.what());
    }
  }

 private:
  void place(const std::string& text, std::string bytes, const nlohmann::json& id) {
    constexpr std::int64_t most_tokens = 1 << 24;
    if (!id.is_number_integer() || id < 0 || id >= most_tokens)
      throw FormatError(where_, "gives ", nlohmann::json(text).dump(), " the id ", id.dump());
    const auto number = id.get<std::int32_t>();
    if (!ids_.emplace(text, number).second || !bytes_.emplace(number, std::move(bytes)).second)
      throw FormatError(where_, "has the token ", nlohmann::json(text).dump(), " or its id ", number,
                        " twice");
  }

  std::int32_t id_of(const std::string& text) const {
    const auto found = ids_.find(text);
    // In a merge, characters mean bytes: that is no special token unless both are the same.
    const bool is_other = special_.contains(text) && visible_bytes(text) != text;
    if (found != ids_.end() && !is_other) return found->second;
    throw FormatError(where_, "merge ", merges_.size(), " needs ", nlohmann::json(text).dump(), ", which is ",
                      is_other ? "a special token" : "no token");
  }

  std::string where_;
  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::int32_t, std::string> bytes_;
  std::map<std::string, std::int32_t> special_;
  std::vector<BpeMerge> merges_;
};

/// Adds "left right". Throws FormatError for anything else.
inline void add_merge_line(BpeParts& parts, std::string_view line, const std::string& where) {
  const std::size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos)
    throw FormatError(where, "has the merge ",
                      nlohmann::json(line).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                      ": two tokens are needed");
  parts.add_merge(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
}

/// The tokens in order of their ids as files show them: special ones by name, others in visible characters.
inline std::vector<std::string> token_texts(const BpeTokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    texts.push_back(visible_bytes(tokenizer.decode(id)));
  for (const auto& [text, id] : tokenizer.special()) texts[static_cast<std::size_t>(id)] = text;
  return texts;
}

/// The merges as "left right", in order of their rank.
inline std::vector<std::string> merge_texts(const BpeTokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (const BpeMerge& merge : tokenizer.merges())
    texts.push_back(visible_bytes(tokenizer.decode(merge.left)) + ' ' +
                    visible_bytes(tokenizer.decode(merge.right)));
  return texts;
}

/// Throws ConfigError unless tokenizer.json describes byte-level BPE just as GPT-2 does it.
inline void check_tokenizer_json(const io::JsonConfig& file, const io::JsonConfig& model) {
  model.require("type", "BPE");
  for (const char* key : {"dropout", "unk_token"}) {
    if (model.has(key)) model.unsupported(key, "only null is supported");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) model.require(key, "");
  for (const char* key : {"byte_fallback", "ignore_merges"}) model.require(key, false);
  if (file.has("normalizer")) file.unsupported("normalizer", "only null is supported");
  const nlohmann::json& pre_tokenizer = file["pre_tokenizer"];
  if (!pre_tokenizer.is_object() || !pre_tokenizer.contains("type"))
    throw ConfigError(file.file(), "pre_tokenizer is missing: only ByteLevel is supported");
  const auto words = io::JsonConfig::from_object(file.file(), pre_tokenizer);
  words.require("type", "ByteLevel");
  words.require("add_prefix_space", false);
  words.require("use_regex", true);
}

}  // namespace detail

/// Reads a vocabulary ({"token": id}: encoder.json or vocab.json) and its merges (vocab.bpe or merges.txt).
/// Throws IoError, FormatError when they are damaged or do not fit together.
inline BpeTokenizer load_bpe(const std::filesystem::path& vocabulary, const std::filesystem::path& merges) {
  detail::BpeParts parts(vocabulary.string());
  const io::JsonConfig tokens(vocabulary);
  for (const auto& [text, id] : tokens.object().items()) parts.add(text, id);
  const std::string lines = read_file(merges);
  bool is_first = true;
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    std::string_view line(lines.data() + at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool is_version = std::exchange(is_first, false) && line.starts_with("#version");
    if (!line.empty() && !is_version) detail::add_merge_line(parts, line, merges.string());
  }
  return parts.build();
}

/// The tokenizer that a tokenizer.json describes. Throws FormatError when it is damaged, ConfigError when it
/// asks for anything but byte-level BPE as GPT-2 does it.
inline BpeTokenizer read_tokenizer_json(const io::JsonConfig& file) {
  const std::string& where = file.file();
  if (!file["model"].is_object()) throw FormatError(where, "model is missing");
  const auto model = io::JsonConfig::from_object(where, file["model"]);
  detail::check_tokenizer_json(file, model);
  detail::BpeParts parts(where);
  const auto &vocab = model["vocab"], &merges = model["merges"], &added_tokens = file["added_tokens"];
  if (!vocab.is_object() || !merges.is_array())
    throw FormatError(where, "model.vocab and model.merges are needed");
  // Special tokens stand in the vocabulary, too, and there their characters mean no bytes either.
  for (const auto& added : added_tokens) {
    if (!added.is_object() || !added.contains("content") || !added.contains("id") ||
        !added["content"].is_string())
      throw FormatError(where, "has an added token without content or id");
    parts.add_special(added["content"].get<std::string>(), added["id"]);
  }
  for (const auto& [text, id] : vocab.items()) parts.add(text, id);
  for (const auto& merge : merges) {
    if (merge.is_string()) {
      detail::add_merge_line(parts, merge.get_ref<const std::string&>(), where);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      parts.add_merge(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      throw FormatError(where, "has a merge that is not two tokens");
    }
  }
  return parts.build();
}

/// The same of a text in memory; `where` stands in for the file in errors.
inline BpeTokenizer parse_tokenizer_json(const std::string& content, const std::string& where) {
  return read_tokenizer_json(io::JsonConfig(where, content));
}

/// Reads a tokenizer.json. Throws IoError, and as `read_tokenizer_json` does.
inline BpeTokenizer load_tokenizer_json(const std::filesystem::path& path) {
  return parse_tokenizer_json(read_file(path), path.string());
}

/// A tokenizer.json which `parse_tokenizer_json` and Hugging Face's tokenizers read.
inline std::string tokenizer_json(const BpeTokenizer& tokenizer) {
  using Json = nlohmann::ordered_json;
  auto vocab = Json::object(), added = Json::array();
  std::int32_t next = 0;
  // By `[]` each token would be compared with all before.
  auto& tokens = vocab.get_ref<Json::object_t&>();
  for (std::string& text : detail::token_texts(tokenizer)) tokens.emplace_back(std::move(text), next++);
  std::map<std::int32_t, std::string> special;
  for (const auto& [text, id] : tokenizer.special()) special[id] = text;
  for (const auto& [id, text] : special) {
    added.push_back({{"id", id},
                     {"content", text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json byte_level{
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json all{{"version", "1.0"},
                 {"truncation", nullptr},
                 {"padding", nullptr},
                 {"added_tokens", added},
                 {"normalizer", nullptr},
                 {"pre_tokenizer", byte_level},
                 {"post_processor", byte_level},
                 {"decoder", byte_level},
                 {"model",
                  {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", vocab},
                   {"merges", detail::merge_texts(tokenizer)}}}};
  return all.dump(1) + '\n';
}

}  // namespace exfusion::data
