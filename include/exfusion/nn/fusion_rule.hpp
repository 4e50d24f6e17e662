#pragma once

#include <concepts>

#include <exfusion/autograd/context.hpp>
#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/fuse.hpp>

namespace exfusion {

/// Where a rule is put to work: one feed-forward network with E experts.
struct FusionSite {
  Index experts = 1;
  Index groups = 1;     ///< Sets of fusion weights, by the rule's granularity.
  Index d_model = 0;    ///< Last axis of the network's input.
  bool causal = false;  ///< Whether a token's result must not depend on later tokens.
};

/// How a layer's fusion weights a [groups, E] come about. A plain struct, copied into every layer:
/// - `constant_weights`: a never changes after `initialise`; optimizers then keep one state for all experts.
/// - `granularity()`: what shares one weight.
/// - `initialise(site, rng)`: called once, by `upcycle`; creates the rule's parameters, which should have
///   ParameterOptions{.decay = false, .fusion = true}.
/// - `training_weights(ctx, x)`: a in training, recorded on the tape if it is learned; x [..., D] is the
///   layer's input. With `ctx.replay` it repeats an earlier call and must not take note of it again.
/// - `export_weights()`: a in evaluation, generation and collapse.
/// A rule may also have
/// - `weights_sum_to_one()`: true when a is a softmax in each group, which makes its gradient more precise
///   (`FusionGradient::relative`);
/// - `saves_input`: false as a promise that no backward pass of `training_weights` reads x, whose memory can
///   then serve others in bf16;
/// - `next_weights()`: a NextWeights<T>, where a is found before the next training pass. An optimizer then
///   writes W while it updates the experts, and that pass need not read them.
template <class Rule, class T>
concept FusionRule = Scalar<T> && Module<Rule> &&
    requires(Rule& rule, const Rule& fixed, const FusionSite& site, Rng& rng, const Context<T>& ctx,
             const Tensor<T>& x) {
  { Rule::constant_weights } -> std::convertible_to<bool>;
  { fixed.granularity() } -> std::same_as<FusionGranularity>;
  rule.initialise(site, rng);
  { fixed.training_weights(ctx, x) } -> std::convertible_to<Tensor<T>>;
  { fixed.export_weights() } -> std::convertible_to<Tensor<T>>;
};

/// The form in which `fuse` returns the gradient of the rule's weights.
template <class Rule>
FusionGradient fusion_gradient(const Rule& rule) {
  if constexpr (requires { rule.weights_sum_to_one(); }) {
    if (rule.weights_sum_to_one()) return FusionGradient::relative;
  }
  return FusionGradient::exact;
}

/// Where the rule's next a is found; nowhere when it depends on the pass.
template <Scalar T, class Rule>
NextWeights<T> next_weights(const Rule& rule) {
  if constexpr (requires { rule.next_weights(); }) return rule.next_weights();
  return {};
}

}  // namespace exfusion
