#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/io/json_config.hpp>
#include <exfusion/models/ffn_config.hpp>

// The choice of feed-forward networks as JSON, in checkpoints and fused models (docs/formats.md). How experts
// are initialised is left out: a stored model has its experts.

namespace exfusion::io {

/// What values of an enumeration are called, in files and options.
template <class Enum, std::size_t Count>
using EnumNames = std::array<std::pair<Enum, std::string_view>, Count>;

inline constexpr EnumNames<LearnedForm, 2> learned_form_names{
    {{LearnedForm::softmax, "softmax"}, {LearnedForm::free, "free"}}};
inline constexpr EnumNames<FusionGranularity, 3> fusion_granularity_names{
    {{FusionGranularity::layer, "layer"},
     {FusionGranularity::matrix, "matrix"},
     {FusionGranularity::row, "row"}}};
inline constexpr EnumNames<BankValue, 3> bank_value_names{
    {{BankValue::automatic, "automatic"},
     {BankValue::routed, "routed"},
     {BankValue::straight_through, "straight_through"}}};
inline constexpr EnumNames<BankMemory, 2> bank_memory_names{
    {{BankMemory::moving_average, "moving_average"}, {BankMemory::window, "window"}}};

/// The name of a value, which must have one.
template <class Enum, std::size_t Count>
std::string name_of(const EnumNames<Enum, Count>& names, Enum value) {
  return std::string(std::ranges::find(names, value, &std::pair<Enum, std::string_view>::first)->second);
}

/// The value of a name, if it is one.
template <class Enum, std::size_t Count>
std::optional<Enum> value_named(const EnumNames<Enum, Count>& names, std::string_view name) {
  const auto found = std::ranges::find(names, name, &std::pair<Enum, std::string_view>::second);
  return found == names.end() ? std::nullopt : std::optional(found->first);
}

namespace detail {

template <class Enum, std::size_t Count>
Enum read_enum(const JsonConfig& json, const std::string& key, const EnumNames<Enum, Count>& names) {
  if (const auto value = value_named(names, json.get<std::string>(key))) return *value;
  std::string known;
  for (const auto& [value, name] : names) known.append(known.empty() ? "" : ", ").append(name);
  json.unsupported(key, "it must be one of " + known);
}

inline nlohmann::json rule_json(const StaticFusionOptions& rule) {
  return {{"rule", "static"}, {"weights", rule.weights}};
}
inline nlohmann::json rule_json(const LearnedFusionOptions& rule) {
  return {{"rule", "learned"},
          {"form", name_of(learned_form_names, rule.form)},
          {"granularity", name_of(fusion_granularity_names, rule.granularity)},
          {"lr_multiplier", rule.lr_multiplier}};
}
inline nlohmann::json rule_json(const MemoryBankFusionOptions& rule) {
  return {{"rule", "memory_bank"},
          {"value", name_of(bank_value_names, rule.value)},
          {"memory", name_of(bank_memory_names, rule.bank.memory)},
          {"beta", rule.bank.beta},
          {"window", rule.bank.window},
          {"router_std", rule.router_std},
          {"lr_multiplier", rule.lr_multiplier}};
}

inline StaticFusionOptions read_static_rule(const JsonConfig& json) {
  StaticFusionOptions rule;
  for (const auto& weight : json["weights"]) {
    if (!weight.is_number()) json.unsupported("weights", "a list of numbers is needed");
    rule.weights.push_back(weight.get<double>());
  }
  return rule;
}

inline LearnedFusionOptions read_learned_rule(const JsonConfig& json) {
  return {.form = read_enum(json, "form", learned_form_names),
          .granularity = read_enum(json, "granularity", fusion_granularity_names),
          .lr_multiplier = json.get<double>("lr_multiplier")};
}

inline MemoryBankFusionOptions read_bank_rule(const JsonConfig& json) {
  return {.value = read_enum(json, "value", bank_value_names),
          .bank = {.memory = read_enum(json, "memory", bank_memory_names),
                   .beta = json.get<double>("beta"),
                   .window = json.get<Index>("window")},
          .router_std = json.get<double>("router_std"),
          .lr_multiplier = json.get<double>("lr_multiplier")};
}

}  // namespace detail

/// `config` as a JSON object, which `read_ffn_config` reads.
inline nlohmann::json ffn_config(const FfnConfig& config) {
  if (const auto* mixture = std::get_if<SparseMoEOptions>(&config)) {
    return {{"kind", "sparse"},
            {"experts", mixture->experts},
            {"k", mixture->k},
            {"balance", mixture->balance},
            {"router_std", mixture->router_std}};
  }
  const auto* fused = std::get_if<FusedFfnConfig>(&config);
  if (fused == nullptr) return {{"kind", "dense"}};
  auto json = std::visit([](const auto& rule) { return detail::rule_json(rule); }, fused->rule);
  json["kind"] = "fused";
  json["experts"] = fused->experts;
  return json;
}

/// What `ffn_config` wrote. Throws FormatError when a value is missing or of another type, ConfigError for a
/// kind, rule or name that is not known.
inline FfnConfig read_ffn_config(const JsonConfig& json) {
  const auto kind = json.get<std::string>("kind");
  if (kind == "dense") return DenseFfnConfig{};
  if (kind == "sparse") {
    return SparseMoEOptions{.experts = json.get<Index>("experts"),
                            .k = json.get<Index>("k"),
                            .balance = json.get<double>("balance"),
                            .router_std = json.get<double>("router_std")};
  }
  if (kind != "fused") json.unsupported("kind", "it must be dense, fused or sparse");
  FusedFfnConfig fused{.experts = json.get<Index>("experts")};
  const auto rule = json.get<std::string>("rule");
  if (rule == "static") {
    fused.rule = detail::read_static_rule(json);
  } else if (rule == "learned") {
    fused.rule = detail::read_learned_rule(json);
  } else if (rule == "memory_bank") {
    fused.rule = detail::read_bank_rule(json);
  } else {
    json.unsupported("rule", "it must be static, learned or memory_bank");
  }
  return fused;
}

}  // namespace exfusion::io
