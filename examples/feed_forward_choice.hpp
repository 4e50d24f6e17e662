#pragma once

#include <string>
#include <variant>

#include <exfusion/io/ffn_config.hpp>
#include <exfusion/models/ffn_config.hpp>

#include "options.hpp"

// Which feed-forward network stands in the model's blocks, as the options say.

namespace exfusion::examples {

inline ExpertInit make_expert_init(const Options& o) {
  if (o.expert_init == "zero_sum") return ZeroSum{o.init_scale};
  if (o.expert_init == "drop") return Drop{o.drop_ratio, o.keep_function};
  return Copies{};
}

/// Which networks the options ask for.
inline FfnConfig ffn_config(const Options& o) {
  if (o.ffn == "dense") return DenseFfnConfig{};
  if (o.ffn == "moe") return SparseMoEOptions{.experts = o.experts, .k = o.moe_k, .balance = o.moe_balance};
  FusedFfnConfig fused{.experts = o.experts, .init = make_expert_init(o)};
  if (o.fusion == "static") {
    fused.rule = StaticFusionOptions{.weights = o.static_weights};
  } else if (o.fusion == "learned") {
    fused.rule = LearnedFusionOptions{
        .form = o.free_weights ? LearnedForm::free : LearnedForm::softmax,
        .granularity = io::value_named(io::fusion_granularity_names, o.granularity).value(),
        .lr_multiplier = o.fusion_lr};
  } else {
    const MemoryBankOptions bank{.memory = o.bank_window ? BankMemory::window : BankMemory::moving_average,
                                 .beta = o.bank_decay,
                                 .window = o.bank_window.value_or(1)};
    fused.rule = MemoryBankFusionOptions{.value = io::value_named(io::bank_value_names, o.bank_value).value(),
                                         .bank = bank,
                                         .router_std = o.router_std,
                                         .lr_multiplier = o.fusion_lr};
  }
  return fused;
}

namespace detail {

inline void adopt_rule(CLI::App& app, const StaticFusionOptions& rule) {
  put(app, "--fusion", "static");
  std::string weights;
  for (const double weight : rule.weights)
    weights.append(weights.empty() ? "" : ",").append(number_text(weight));
  if (!weights.empty()) put(app, "--static-weights", weights);
}

inline void adopt_rule(CLI::App& app, const LearnedFusionOptions& rule) {
  put(app, "--fusion", "learned");
  put(app, "--free-weights", rule.form == LearnedForm::free ? "true" : "false");
  put(app, "--fusion-granularity", io::name_of(io::fusion_granularity_names, rule.granularity));
  put(app, "--fusion-lr", number_text(rule.lr_multiplier));
}

inline void adopt_rule(CLI::App& app, const MemoryBankFusionOptions& rule) {
  put(app, "--fusion", "bank");
  put(app, "--bank-value", io::name_of(io::bank_value_names, rule.value));
  if (rule.bank.memory == BankMemory::window) {
    put(app, "--bank-window", number_text(rule.bank.window));
  } else {
    put(app, "--bank-decay", number_text(rule.bank.beta));
  }
  put(app, "--router-std", number_text(rule.router_std));
  put(app, "--fusion-lr", number_text(rule.lr_multiplier));
}

}  // namespace detail

/// Sets the options to the fused networks of a model that --init-from names. Throws ConfigError naming an
/// option that asks for others.
inline void adopt_ffn(CLI::App& app, const Options& o, const FusedFfnConfig& ffn) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group() != feed_forward_group || option->count() == 0) continue;
    throw ConfigError("--init-from", o.init_from, " has experts of its own, which are kept: leave ",
                      option->get_name(), " away");
  }
  put(app, "--ffn", "exfusion");
  put(app, "--experts", number_text(ffn.experts));
  std::visit([&app](const auto& rule) { detail::adopt_rule(app, rule); }, ffn.rule);
}

}  // namespace exfusion::examples
