#pragma once

#include <string>
#include <utility>

#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/train/activation_plan.hpp>

#include "options.hpp"

// Which feed-forward network stands in the model's blocks, as the options say.

namespace exfusion::examples {

inline FusionGranularity granularity_named(const std::string& name) {
  if (name == "matrix") return FusionGranularity::matrix;
  return name == "row" ? FusionGranularity::row : FusionGranularity::layer;
}

inline BankValue bank_value_named(const std::string& name) {
  if (name == "routed") return BankValue::routed;
  return name == "straight_through" ? BankValue::straight_through : BankValue::automatic;
}

inline ExpertInit make_expert_init(const Options& o) {
  if (o.expert_init == "zero_sum") return ZeroSum{o.init_scale};
  if (o.expert_init == "drop") return Drop{o.drop_ratio, o.keep_function};
  return Copies{};
}

/// What the options ask for, as the memory plan wants to know it.
inline train::FfnPlan ffn_plan(const Options& o) {
  if (o.ffn == "dense") return {};
  if (o.ffn == "moe") return {.kind = train::FfnKind::sparse, .experts = o.experts, .k = o.moe_k};
  train::FfnPlan plan{.kind = train::FfnKind::fused, .experts = o.experts};
  if (o.fusion == "static") plan.rule = train::RuleKind::fixed;
  if (o.fusion == "learned") plan.rule = train::RuleKind::learned;
  if (o.fusion == "learned") plan.granularity = granularity_named(o.granularity);
  return plan;
}

/// Calls `use(model)` with the model that the options ask for, made from the dense one: its type depends on
/// the feed-forward network and the fusion rule. The dense one is gone by then.
template <class Model, class Use>
void with_chosen_ffn(Model dense, const Options& o, Rng& rng, const Use& use_model) {
  using T = float;
  if (o.ffn == "dense") return use_model(std::move(dense));
  const auto use = [&](auto model) {
    dense = Model();
    use_model(std::move(model));
  };
  if (o.ffn == "moe") {
    const SparseMoEOptions mixture{.experts = o.experts, .k = o.moe_k, .balance = o.moe_balance};
    return use(dense.transform_ffn(
        [&](const FeedForward<T>& ffn, Index) { return SparseMoE<T>(ffn, mixture, rng); }));
  }
  const UpcycleOptions upcycling{.experts = o.experts, .init = make_expert_init(o)};
  if (o.fusion == "static") {
    return use(upcycle(dense, StaticFusion<T>({.weights = o.static_weights}), upcycling, rng));
  }
  if (o.fusion == "learned") {
    const LearnedFusion<T> rule({.form = o.free_weights ? LearnedForm::free : LearnedForm::softmax,
                                 .granularity = granularity_named(o.granularity),
                                 .lr_multiplier = o.fusion_lr});
    return use(upcycle(dense, rule, upcycling, rng));
  }
  const MemoryBankOptions bank{.memory = o.bank_window ? BankMemory::window : BankMemory::moving_average,
                               .beta = o.bank_decay,
                               .window = o.bank_window.value_or(1)};
  const MemoryBankFusion<T> rule({.value = bank_value_named(o.bank_value),
                                  .bank = bank,
                                  .router_std = o.router_std,
                                  .lr_multiplier = o.fusion_lr});
  use(upcycle(dense, rule, upcycling, rng));
}

}  // namespace exfusion::examples
