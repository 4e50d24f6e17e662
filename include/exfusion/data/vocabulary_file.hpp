#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/data/char_tokenizer.hpp>

namespace exfusion::data {

/// Writes the vocabulary as a JSON object {"token": id}, the layout of vocab.json files. Throws IoError.
/// Needs nlohmann-json.
inline void save_vocabulary(const CharTokenizer& tokenizer, const std::filesystem::path& path) {
  nlohmann::ordered_json vocabulary = nlohmann::ordered_json::object();
  // By `[]` each token would be compared with all before.
  auto& tokens = vocabulary.get_ref<nlohmann::ordered_json::object_t&>();
  for (std::int32_t token = 0; token < tokenizer.vocab_size(); ++token)
    tokens.emplace_back(tokenizer.decode(token), token);
  write_file_atomically(path, vocabulary.dump(1) + "\n");
}

namespace detail {

/// Parses a flat JSON object with distinct keys. Throws FormatError in the name of `where`.
inline nlohmann::json parse_flat_object(const std::string& content, const std::string& where) {
  using Event = nlohmann::json::parse_event_t;
  std::set<std::string> keys;
  const auto check = [&](int depth, Event event, nlohmann::json& value) {
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && (depth > 0 || event == Event::array_start)) {
      throw FormatError(where, "must be one object of token ids, without lists or objects inside");
    }
    if (event == Event::key && !keys.insert(value.get<std::string>()).second) {
      throw FormatError(where, "has the token ", value.dump(), " twice");
    }
    return true;
  };
  try {
    nlohmann::json object = nlohmann::json::parse(content, check);
    if (!object.is_object()) throw FormatError(where, "must be one object of token ids");
    return object;
  } catch (const nlohmann::json::exception& error) {
    throw FormatError(where, "is not valid JSON: ", error.what());
  }
}

}  // namespace detail

/// Reads what `save_vocabulary` wrote, or any {"token": id} object whose tokens are single characters and
/// whose ids are 0 .. n-1, each once. Throws IoError when it cannot be read, FormatError for anything else.
inline CharTokenizer load_vocabulary(const std::filesystem::path& path) {
  const std::string where = path.string();
  const nlohmann::json vocabulary = detail::parse_flat_object(read_file(path), where);
  std::vector<char32_t> characters(vocabulary.size());
  std::vector<bool> seen(vocabulary.size());
  if (vocabulary.empty()) throw FormatError(where, "has no tokens");
  for (const auto& [token, id] : vocabulary.items()) {
    std::size_t length = 0;
    const char32_t character = token.empty() ? 0 : detail::next_code_point(token, length, where);
    if (length == 0 || length != token.size()) {
      throw FormatError(where, "has the token \"", token, "\": every token must be one character");
    }
    if (!id.is_number_integer() || id < 0 || id >= vocabulary.size()) {
      throw FormatError(where, "gives \"", token, "\" the id ", id.dump(), ": ids are 0 to ",
                        vocabulary.size() - 1);
    }
    const auto place = id.get<std::size_t>();
    if (seen[place]) throw FormatError(where, "gives the id ", place, " to more than one token");
    seen[place] = true;
    characters[place] = character;
  }
  return CharTokenizer(std::move(characters));
}

}  // namespace exfusion::data
