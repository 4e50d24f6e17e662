#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/nn/feed_forward.hpp>
#include <exfusion/nn/fusion_rule.hpp>

namespace exfusion {

/// A feed-forward network whose weights are fused from E experts (arXiv 2603.27965; docs/method.md): made by
/// `upcycle` from a FeedForward, and turned back into one by `collapsed`. Every pass costs what the dense
/// network costs; the experts are summed once per optimizer step, or per pass where a depends on the input.
template <Scalar T, FusionRule<T> Rule>
struct ExFusionFFN {
  static constexpr bool between_linears = requires { requires !Rule::saves_input; };

  ExpertSlab<T> experts;  ///< Segments named as FeedForward names its parameters.
  Rule rule;
  Activation activation = Activation::gelu_tanh;

  static void fields(auto& self, auto&& visit) {
    visit("experts", self.experts);
    visit("rule", self.rule);
  }

  /// x [..., D] to [..., D], with the rule's training weights in training and its export weights otherwise.
  /// Throws as `feed_forward`, `fuse` and the rule do.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    const Tensor<T> a = ctx.training ? rule.training_weights(ctx, x) : rule.export_weights();
    const Tensor<T> fused = ops::fuse(ctx, experts, a, fusion_gradient(rule));
    if (ctx.training) experts.set_next_weights(next_weights<T>(rule));
    FeedForwardWeights<T> weights;
    for (std::size_t i = 0; i < experts.segments().size(); ++i) {
      member(weights, experts.segments()[i].name) = segment(fused, i);
    }
    return feed_forward(ctx, x, weights, activation);
  }

  /// Calls `visit(segment, part)` for each segment of W with the export weights, in the order of
  /// `experts.segments()`. The parts are views, valid during the call.
  template <class Visit>
  void visit_fused(const Visit& visit) const {
    const Tensor<T> fused = ops::fuse(Context<T>{}, experts, rule.export_weights());
    for (const SlabSegment& place : experts.segments()) {
      visit(place, Tensor<T>(fused.data() + place.offset, place.shape));
    }
  }

  /// The same as copies, in the order of `experts.segments()`.
  std::vector<Tensor<T>> fused_segments() const {
    std::vector<Tensor<T>> result;
    visit_fused([&](const SlabSegment&, const Tensor<T>& part) {
      result.push_back(Tensor<T>::from(part.shape(), part.values()));
    });
    return result;
  }

  /// The dense network with W as its weights: the same results to the bit.
  FeedForward<T> collapsed() const {
    FeedForward<T> dense;
    dense.activation = activation;
    const std::vector<Tensor<T>> segments = fused_segments();
    walk(dense, [&](const std::string& name, Parameter<T>& parameter) {
      for (std::size_t i = 0; i < segments.size(); ++i) {
        const SlabSegment& place = experts.segments()[i];
        if (place.name != name) continue;
        parameter = Parameter<T>(place.shape, {.decay = place.decay});
        std::ranges::copy(segments[i].values(), parameter.data());
      }
    });
    return dense;
  }

 private:
  // One segment of W: with its part of G when W is recorded on a tape.
  Tensor<T> segment(const Tensor<T>& fused, std::size_t i) const {
    if (fused.requires_grad()) return experts.fused(i);
    const SlabSegment& place = experts.segments()[i];
    return Tensor<T>(fused.data() + place.offset, place.shape);
  }

  static Tensor<T>& member(FeedForwardWeights<T>& weights, std::string_view name) {
    if (name == "gate.weight") return weights.gate_weight;
    if (name == "gate.bias") return weights.gate_bias;
    if (name == "up.weight") return weights.up_weight;
    if (name == "up.bias") return weights.up_bias;
    if (name == "down.weight") return weights.down_weight;
    if (name == "down.bias") return weights.down_bias;
    throw ConfigError("exfusion_ffn", "the experts have a segment '", name, "' that FeedForward has not");
  }
};

}  // namespace exfusion
