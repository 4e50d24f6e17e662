#pragma once

#include <cmath>
#include <concepts>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::io {

/// A JSON object read from a file, whose values are asked for by name and type. A value that is null counts
/// as absent, as Hugging Face means it.
class JsonConfig {
 public:
  /// Throws IoError when the file cannot be read, FormatError when it is not one JSON object with distinct
  /// keys.
  explicit JsonConfig(const std::filesystem::path& path) : file_(path.string()) {
    constexpr std::uint64_t most_bytes = 64 << 20;
    const std::uint64_t bytes = exfusion::detail::FileDescriptor(path, O_RDONLY).size();
    if (bytes > most_bytes) throw FormatError(file_, "has ", bytes, " bytes: ", most_bytes, " is the limit");
    parse(read_file(path));
  }

  /// The same for a text in memory; `name` stands in for the file in errors.
  JsonConfig(std::string name, const std::string& content) : file_(std::move(name)) { parse(content); }

  /// A part of what has been read. Throws FormatError, in the name of `name`, when it is no object.
  static JsonConfig from_object(std::string name, nlohmann::json object) {
    if (!object.is_object()) throw FormatError(name, "a JSON object is needed");
    JsonConfig config;
    config.file_ = std::move(name);
    config.object_ = std::move(object);
    return config;
  }

  const std::string& file() const { return file_; }

  /// All of it.
  const nlohmann::json& object() const { return object_; }

  bool has(const std::string& key) const { return object_.contains(key) && !object_[key].is_null(); }

  /// The raw value; null when there is none.
  const nlohmann::json& operator[](const std::string& key) const {
    static const nlohmann::json none;
    const auto place = object_.find(key);
    return place == object_.end() ? none : *place;
  }

  /// Throws FormatError when the value is absent or not of the type: Index, double, bool or std::string.
  template <class Value>
  Value get(const std::string& key) const {
    if (!has(key)) throw FormatError(file_, key, " is missing");
    const nlohmann::json& value = object_[key];
    if constexpr (std::same_as<Value, bool>) {
      if (!value.is_boolean()) refuse(key, "true or false is needed");
    } else if constexpr (std::same_as<Value, Index>) {
      const bool too_large =
          value.is_number_unsigned() &&
          value.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
      if (!value.is_number_integer() || too_large) refuse(key, "an integer below 2^63 is needed");
    } else if constexpr (std::same_as<Value, double>) {
      if (!value.is_number()) refuse(key, "a number is needed");
    } else {
      if (!value.is_string()) refuse(key, "a text is needed");
    }
    return value.get<Value>();
  }

  /// The same with a default for an absent value.
  template <class Value>
  Value get(const std::string& key, Value otherwise) const {
    return has(key) ? get<Value>(key) : otherwise;
  }

  /// Throws ConfigError unless the value is absent or `supported`.
  template <class Value>
  void require(const std::string& key, const Value& supported) const {
    const nlohmann::json only = supported;
    if (has(key) && object_[key] != only) {
      throw ConfigError(file_, key, " is ", shown(key), ": only ", only.dump(), " is supported");
    }
  }

  /// Throws ConfigError naming the value and `limit`.
  [[noreturn]] void unsupported(const std::string& key, const std::string& limit) const {
    throw ConfigError(file_, key, " is ", shown(key), ": ", limit);
  }

 private:
  JsonConfig() = default;

  [[noreturn]] void refuse(const std::string& key, const std::string& limit) const {
    throw FormatError(file_, key, " is ", shown(key), ": ", limit);
  }

  std::string shown(const std::string& key) const {
    const std::string text = object_[key].dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    return text.size() > 100 ? text.substr(0, 100) + "..." : text;
  }

  void parse(const std::string& content) {
    using Event = nlohmann::json::parse_event_t;
    constexpr int deepest = 16;
    std::vector<std::set<std::string>> keys(deepest);
    const auto check = [&](int depth, Event event, nlohmann::json& value) {
      if (depth >= deepest) throw FormatError(file_, "nests objects or lists more than ", deepest, " deep");
      const auto level = static_cast<std::size_t>(depth);
      if (event == Event::object_start && level + 1 < keys.size()) keys[level + 1].clear();
      if (event == Event::key && !keys[level].insert(value.get<std::string>()).second) {
        throw FormatError(file_, "has the key ", value.dump(), " twice");
      }
      return true;
    };
    try {
      object_ = nlohmann::json::parse(content, check);
    } catch (const nlohmann::json::exception& error) {
      throw FormatError(file_, "is not valid JSON: ", std::string(error.what()).substr(0, 200));
    }
    if (!object_.is_object()) throw FormatError(file_, "is not a JSON object");
  }

  std::string file_;
  nlohmann::json object_;
};

}  // namespace exfusion::io
