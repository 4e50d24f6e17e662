#pragma once

#include <exfusion/nn/fusion_rule.hpp>
#include <exfusion/ops/softmax.hpp>

namespace exfusion {

/// softmax: a = softmax(logits), the logits start at 0. free: a itself is learned and starts at 1/E.
enum class LearnedForm { softmax, free };

struct LearnedFusionOptions {
  LearnedForm form = LearnedForm::softmax;
  FusionGranularity granularity = FusionGranularity::layer;
  double lr_multiplier = 1.0;  ///< Of the optimizer's learning rate, for the logits or weights.
};

/// Fusion weights learned by gradient descent (ExFusion-dw of arXiv 2603.27965; docs/method.md). Never
/// decayed.
template <Scalar T>
struct LearnedFusion {
  static constexpr bool constant_weights = false;
  static constexpr bool saves_input = false;

  LearnedFusionOptions options;
  Parameter<T> learned;  ///< Logits or weights [groups, E].

  LearnedFusion() = default;
  explicit LearnedFusion(LearnedFusionOptions chosen) : options(chosen) {}

  static void fields(auto& self, auto&& visit) {
    visit(self.weights_sum_to_one() ? "logits" : "weights", self.learned);
  }

  FusionGranularity granularity() const { return options.granularity; }
  bool weights_sum_to_one() const { return options.form == LearnedForm::softmax; }

  void initialise(const FusionSite& site, Rng&) {
    learned = Parameter<T>({site.groups, site.experts},
                           {.decay = false, .fusion = true, .lr_multiplier = options.lr_multiplier});
    if (!weights_sum_to_one()) {
      std::ranges::fill(learned.values(), T{1} / static_cast<T>(site.experts));
    }
  }

  Tensor<T> training_weights(const Context<T>& ctx, const Tensor<T>&) const {
    return weights_sum_to_one() ? ops::softmax(ctx, learned) : Tensor<T>(learned);
  }

  Tensor<T> export_weights() const {
    return weights_sum_to_one() ? ops::softmax(Context<T>{}, learned) : learned.detach();
  }
  /// Valid after the optimizer has updated the rule's parameters, which it does before the experts.
  NextWeights<T> next_weights() const {
    return {.values = learned.detach(), .softmax = weights_sum_to_one()};
  }
};

}  // namespace exfusion
