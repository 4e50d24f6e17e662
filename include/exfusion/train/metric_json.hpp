#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/io/json.hpp>
#include <exfusion/train/metric_rows.hpp>

// Between the rows of metric_rows.hpp and the lines of metrics.jsonl.

namespace exfusion::train {

namespace detail {

using Json = nlohmann::ordered_json;

/// A struct with `fields`, or FusionDiagnostics, which knows nothing of files.
template <class Row>
void visit_fields(Row& row, auto&& visit) {
  if constexpr (std::same_as<std::remove_const_t<Row>, FusionDiagnostics>) {
    visit("name", row.name);
    visit("weights", row.weights);
    visit("groups", row.groups);
    visit("entropy", row.entropy);
    visit("movement", row.movement);
    visit("spread", row.spread);
  } else {
    Row::fields(row, visit);
  }
}

template <class Value>
inline constexpr bool is_vector = false;
template <class Element>
inline constexpr bool is_vector<std::vector<Element>> = true;
template <class Value>
inline constexpr bool is_optional = false;
template <class Content>
inline constexpr bool is_optional<std::optional<Content>> = true;

template <class Value>
Json value_to_json(const Value& value) {
  if constexpr (std::is_arithmetic_v<Value> || std::same_as<Value, std::string>) {
    return value;
  } else if constexpr (is_vector<Value>) {
    Json list = Json::array();
    for (const auto& element : value) list.push_back(value_to_json(element));
    return list;
  } else {
    Json object = Json::object();
    visit_fields(value, [&](const char* name, const auto& field) {
      if constexpr (is_optional<std::remove_cvref_t<decltype(field)>>) {
        if (field) object[name] = value_to_json(*field);
      } else {
        object[name] = value_to_json(field);
      }
    });
    return object;
  }
}

/// Throws std::runtime_error telling what is needed instead of `json`.
template <class Value>
void value_from_json(const Json& json, Value& value) {
  const auto require = [](bool holds, const char* needed) {
    if (!holds) throw std::runtime_error(needed);
  };
  if constexpr (std::same_as<Value, double>) {
    require(json.is_number() || json.is_null(), "a number or null is needed");
    value = json.is_null() ? unknown : json.get<double>();
  } else if constexpr (std::same_as<Value, Index>) {
    require(io::holds_integer<Index>(json), "an integer below 2^63 is needed");
    value = json.get<Index>();
  } else if constexpr (std::same_as<Value, bool>) {
    require(json.is_boolean(), "true or false is needed");
    value = json.get<bool>();
  } else if constexpr (std::same_as<Value, std::string>) {
    require(json.is_string(), "a text is needed");
    value = json.get<std::string>();
  } else if constexpr (is_optional<Value>) {
    value_from_json(json, value.emplace());
  } else if constexpr (is_vector<Value>) {
    require(json.is_array(), "a list is needed");
    for (const Json& element : json) value_from_json(element, value.emplace_back());
  } else {
    require(json.is_object(), "an object is needed");
    visit_fields(value, [&](const char* name, auto& field) {
      const auto found = json.find(name);
      if (found == json.end() && is_optional<std::remove_cvref_t<decltype(field)>>) return;
      if (found == json.end()) throw std::runtime_error(std::string(name) + " is missing");
      try {
        value_from_json(*found, field);
      } catch (const std::runtime_error& error) {
        throw std::runtime_error(std::string(name) + ": " + error.what());
      }
    });
  }
}

}  // namespace detail

/// A row as a JSON object with `kind` in front.
template <class Row>
detail::Json to_json(const Row& row) {
  detail::Json json = {{"kind", Row::kind}};
  json.update(detail::value_to_json(row));
  return json;
}

/// The row in a JSON object of its kind. What the row does not know is left aside. Throws std::runtime_error
/// naming the field that is missing or of another type.
template <class Row>
Row row_from_json(const detail::Json& json) {
  Row row;
  detail::value_from_json(json, row);
  return row;
}

/// Calls `use(row, line)` for each row of a metrics.jsonl: a JSON object with the text `kind`, and the number
/// of its line. A last line that cannot be read is what a killed run leaves behind, and skipped. Throws
/// IoError when the file cannot be read, FormatError naming the line when another is no row, or when `use`
/// throws a std::runtime_error that is none of the library's.
template <class Use>
void for_each_metric(const std::filesystem::path& path, const Use& use) {
  const std::string content = read_file(path);
  std::size_t line = 0;
  for (std::size_t begin = 0; begin < content.size(); ++line) {
    const std::size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view text(content.data() + begin, end - begin);
    begin = end + 1;
    const auto row = io::parse_shallow<detail::Json>(text);
    const auto where = [&] { return path.string() + ", line " + std::to_string(line + 1); };
    if (row.is_discarded() && begin >= content.size()) return;
    if (row.is_discarded()) throw FormatError(where(), "is not valid JSON, or nested too deep");
    if (!row.is_object() || !row.contains("kind") || !row["kind"].is_string()) {
      throw FormatError(where(), "is not a JSON object with the text \"kind\"");
    }
    try {
      use(row, line + 1);
    } catch (const Error&) {
      throw;
    } catch (const std::runtime_error& error) {
      throw FormatError(where(), error.what());
    }
  }
}

}  // namespace exfusion::train
