#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <exfusion/nn/fusion_rule.hpp>

namespace exfusion {

struct StaticFusionOptions {
  /// One weight per expert, not negative, of sum 1. Empty: 1/E each.
  std::vector<double> weights;
};

/// Fixed fusion weights (ExFusion-sw of arXiv 2603.27965). Under AdamW training is exactly dense training;
/// see docs/method.md.
template <Scalar T>
struct StaticFusion {
  static constexpr bool constant_weights = true;
  static constexpr bool saves_input = false;

  StaticFusionOptions options;
  Tensor<T> weights;  ///< a [1, E].

  StaticFusion() = default;
  explicit StaticFusion(StaticFusionOptions chosen) : options(std::move(chosen)) {}

  static void fields(auto&, auto&&) {}

  FusionGranularity granularity() const { return FusionGranularity::layer; }

  /// Throws ConfigError when the given weights are not one per expert, not finite, negative, or do not sum to
  /// 1 (to 1e-6).
  void initialise(const FusionSite& site, Rng&) {
    if (options.weights.empty()) {
      weights = Tensor<T>::empty({1, site.experts});
      std::ranges::fill(weights.values(), T{1} / static_cast<T>(site.experts));
      return;
    }
    check_given(site.experts);
    weights = Tensor<T>::empty({1, site.experts});
    std::ranges::transform(options.weights, weights.data(), [](double w) { return static_cast<T>(w); });
  }

  Tensor<T> training_weights(const Context<T>&, const Tensor<T>&) const { return weights; }
  Tensor<T> export_weights() const { return weights; }
  NextWeights<T> next_weights() const { return {.values = weights}; }

 private:
  void check_given(Index experts) const {
    const auto& given = options.weights;
    if (static_cast<Index>(given.size()) != experts) {
      throw ConfigError("static_fusion", given.size(), " weights for ", experts, " experts: give one each");
    }
    double sum = 0;
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (!(std::isfinite(given[i]) && given[i] >= 0)) {
        throw ConfigError("static_fusion", "weight ", i, " is ", given[i],
                          ": it must be finite and not negative");
      }
      sum += given[i];
    }
    if (!(std::abs(sum - 1) <= 1e-6)) {
      throw ConfigError("static_fusion", "the weights sum to ", sum, ": they must sum to 1");
    }
  }
};

}  // namespace exfusion
