#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <exfusion/models/expert_init.hpp>
#include <exfusion/nn/exfusion_ffn.hpp>
#include <exfusion/nn/memory_bank_fusion.hpp>

namespace exfusion {

struct UpcycleOptions {
  Index experts = 4;
  ExpertInit init = Copies{};
};

/// A dense feed-forward network as E experts, fused by `rule`. The fused network equals the dense one (up to
/// rounding) unless `init` says otherwise. `causal`: no token may see later ones. Throws ConfigError when
/// there are less than one expert, or the rule or the initialisation refuses.
template <Scalar T, FusionRule<T> Rule>
ExFusionFFN<T, Rule> upcycle_feed_forward(const FeedForward<T>& dense, Rule rule, bool causal,
                                          const UpcycleOptions& options, Rng& rng) {
  const ParameterList<T> list = collect_parameters<T>(dense);
  std::vector<SlabSegment> segments;
  for (const auto& [name, tensor, how] : list.parameters) {
    segments.push_back({name, tensor.shape(), how.decay});
  }
  ExpertSlab<T> slab(options.experts, std::move(segments), rule.granularity(), Rule::constant_weights);
  const Index d_model = dense.up.weight.shape()[1];
  rule.initialise({slab.experts(), slab.groups(), d_model, causal}, rng);
  Buffer<T> row = Buffer<T>::zeros(slab.row_size());
  for (std::size_t i = 0; i < list.parameters.size(); ++i) {
    std::ranges::copy(list.parameters[i].tensor.values(), row.data() + slab.segments()[i].offset);
  }
  const Tensor<T> a = rule.export_weights();
  initialise_experts<T>(slab, std::as_const(row).span(), a.values(), options.init, rng);
  return {std::move(slab), std::move(rule), dense.activation};
}

/// A copy of a dense model in which every feed-forward network has become E experts with a rule of its own
/// (a copy of `rule`). The model offers `transform_ffn` and `causal` (Gpt, Vit, or your own) and holds
/// FeedForward<T>. Throws as `upcycle_feed_forward` does.
template <class Model, class Rule>
requires requires(const Rule& rule) { rule.granularity(); }
auto upcycle(const Model& model, const Rule& rule, const UpcycleOptions& options, Rng& rng) {
  return model.transform_ffn([&]<Scalar T>(const FeedForward<T>& dense, Index) {
    return upcycle_feed_forward(dense, rule, Model::causal, options, rng);
  });
}

/// The same with the default rule, MemoryBankFusion.
template <class Model>
auto upcycle(const Model& model, const UpcycleOptions& options, Rng& rng) {
  return model.transform_ffn([&]<Scalar T>(const FeedForward<T>& dense, Index) {
    return upcycle_feed_forward(dense, MemoryBankFusion<T>{}, Model::causal, options, rng);
  });
}

}  // namespace exfusion
