#pragma once

#include <concepts>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

namespace exfusion::io {

/// The value of a JSON text, discarded (`is_discarded`) when it is not valid or nests objects and lists more
/// than 16 deep: copying and writing a document takes a stack frame for each level, of which a file could
/// have millions.
template <class Json = nlohmann::json>
Json parse_shallow(std::string_view text) {
  constexpr int deepest = 16;
  bool is_shallow = true;
  const auto check = [&](int depth, typename Json::parse_event_t event, Json&) {
    const bool begins =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    const bool keeps = !begins || depth < deepest;
    is_shallow = is_shallow && keeps;
    return keeps;
  };
  Json value = Json::parse(text, check, false);
  return is_shallow ? std::move(value) : Json(Json::value_t::discarded);
}

/// Whether `json` is an integer that an `Integer` can hold. `get` itself would take a fraction, too, and
/// wrap what is out of range.
template <std::integral Integer, class Json>
bool holds_integer(const Json& json) {
  if (json.is_number_unsigned())
    return std::in_range<Integer>(json.template get<typename Json::number_unsigned_t>());
  return json.is_number_integer() &&
         std::in_range<Integer>(json.template get<typename Json::number_integer_t>());
}

}  // namespace exfusion::io
