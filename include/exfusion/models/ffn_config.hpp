#pragma once

#include <type_traits>
#include <utility>
#include <variant>

#include <exfusion/models/collapse.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/memory_bank_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>

// Which feed-forward networks stand in a model's blocks, chosen when the program runs.

namespace exfusion {

/// The dense model's own.
struct DenseFfnConfig {};

/// Experts fused into one by a rule: that of the options given.
struct FusedFfnConfig {
  Index experts = 4;
  ExpertInit init = Copies{};
  std::variant<StaticFusionOptions, LearnedFusionOptions, MemoryBankFusionOptions> rule =
      MemoryBankFusionOptions{};
};

using FfnConfig = std::variant<DenseFfnConfig, FusedFfnConfig, SparseMoEOptions>;

namespace detail {

template <Scalar T>
StaticFusion<T> make_rule(const StaticFusionOptions& options) {
  return StaticFusion<T>(options);
}
template <Scalar T>
LearnedFusion<T> make_rule(const LearnedFusionOptions& options) {
  return LearnedFusion<T>(options);
}
template <Scalar T>
MemoryBankFusion<T> make_rule(const MemoryBankFusionOptions& options) {
  return MemoryBankFusion<T>(options);
}

}  // namespace detail

/// Calls `use(model)` with the model that `config` asks for, made from a dense one (Gpt<T>, Vit<T>); its type
/// depends on the choice. The dense one is gone by then. Throws ConfigError as `upcycle` does.
template <Scalar T, class Model, class Use>
void with_ffn(Model dense, const FfnConfig& config, Rng& rng, const Use& use) {
  const auto use_alone = [&](auto model) {
    dense = Model();
    use(std::move(model));
  };
  if (std::holds_alternative<DenseFfnConfig>(config)) return use(std::move(dense));
  if (const auto* mixture = std::get_if<SparseMoEOptions>(&config)) {
    return use_alone(dense.transform_ffn(
        [&](const FeedForward<T>& ffn, Index) { return SparseMoE<T>(ffn, *mixture, rng); }));
  }
  const auto& fused = std::get<FusedFfnConfig>(config);
  const UpcycleOptions upcycling{.experts = fused.experts, .init = fused.init};
  std::visit([&](const auto& rule) { use_alone(upcycle(dense, detail::make_rule<T>(rule), upcycling, rng)); },
             fused.rule);
}

/// What a model is exported as: collapsed where it has fused experts, else a copy.
template <class Model>
auto exported(const Model& model) {
  using FeedForwardNetwork = std::remove_cvref_t<decltype(model.blocks.front().ffn)>;
  if constexpr (requires(const FeedForwardNetwork& ffn) { ffn.collapsed(); }) {
    return collapse(model);
  } else {
    return model;
  }
}

}  // namespace exfusion
