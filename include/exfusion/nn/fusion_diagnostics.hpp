#pragma once

#include <cmath>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/kernels/norm.hpp>
#include <exfusion/nn/exfusion_ffn.hpp>

namespace exfusion {

/// What one layer's experts and weights are like: a user sees here when the experts have become one (entropy
/// near 0, or spread near 0). The weights are those of evaluation and collapse.
struct FusionDiagnostics {
  std::string name;             ///< Of the layer in the model, such as "blocks.0.ffn".
  Index groups = 1;             ///< Sets of weights: 1, or more with granularity `matrix` and `row`.
  std::vector<double> weights;  ///< a [groups, E].
  std::vector<double> spread;   ///< |W_i - W| / |W| for each expert.
  double entropy = 0;           ///< Of a, in nats, averaged over the groups: ln E if uniform, 0 if one-hot.
  double movement = 0;  ///< sum_i |change of a_i| per step since the last measurement, averaged likewise.

  /// One line; a itself only where there is one group.
  friend std::ostream& operator<<(std::ostream& out, const FusionDiagnostics& layer) {
    out << layer.name << ": entropy " << layer.entropy << ", movement " << layer.movement << ", spread";
    for (double value : layer.spread) out << ' ' << value;
    if (layer.groups > 1) return out;
    out << ", a";
    for (double value : layer.weights) out << ' ' << value;
    return out;
  }
};

/// Entropy of a [groups, E] in nats, averaged over the groups. Weights that are no distribution count by
/// their share of the absolute values.
inline double fusion_entropy(const std::vector<double>& weights, Index groups) {
  const std::size_t experts = weights.size() / static_cast<std::size_t>(groups);
  double entropy = 0;
  for (std::size_t first = 0; first < weights.size(); first += experts) {
    double total = 0;
    for (std::size_t i = first; i < first + experts; ++i) total += std::abs(weights[i]);
    for (std::size_t i = first; i < first + experts; ++i) {
      const double share = std::abs(weights[i]) / total;
      if (share > 0) entropy -= share * std::log(share);
    }
  }
  return entropy / static_cast<double>(groups);
}

/// Measures the fused layers of one model again and again. Each measurement streams every slab once.
template <Scalar T>
class FusionMonitor {
 public:
  /// One entry for each ExFusionFFN<T, ...> in the model, in the order of its fields; `steps`: optimizer
  /// steps since the last call, at which movement was measured (0 at the first). Throws ConfigError when
  /// `steps` is not positive.
  template <Module M>
  std::vector<FusionDiagnostics> measure(const M& model, Index steps = 1) {
    if (steps < 1) throw ConfigError("fusion_monitor", "steps is ", steps, ": it must be at least 1");
    std::vector<FusionDiagnostics> result;
    walk(model, [&]<class Rule>(const std::string& name, const ExFusionFFN<T, Rule>& ffn) {
      result.push_back(measure_layer(name, ffn));
      FusionDiagnostics& layer = result.back();
      std::vector<double>& previous = previous_[name];
      for (std::size_t i = 0; i < previous.size(); ++i) {
        layer.movement +=
            std::abs(layer.weights[i] - previous[i]) / static_cast<double>(steps * layer.groups);
      }
      previous = layer.weights;
    });
    return result;
  }

  /// Calls `visit(name, span)` for each layer's weights of the last measurement (std::span<double>, which may
  /// be written to), so that a checkpoint can hold them.
  template <class Visit>
  void visit_state(const Visit& visit) {
    for (auto& [name, weights] : previous_) visit(name, std::span<double>(weights));
  }

 private:
  template <class Rule>
  static FusionDiagnostics measure_layer(const std::string& name, const ExFusionFFN<T, Rule>& ffn) {
    const ExpertSlab<T>& slab = ffn.experts;
    const Tensor<T> a = ffn.rule.export_weights();
    FusionDiagnostics layer{.name = name, .groups = slab.groups(), .weights = {}, .spread = {}};
    layer.weights.assign(a.values().begin(), a.values().end());
    layer.entropy = fusion_entropy(layer.weights, layer.groups);
    const Tensor<T> fused = ops::fuse(Context<T>{}, slab, a);
    std::vector<double> distances(static_cast<std::size_t>(a.size()));
    kernels::Fuse<T>::squared_distances(slab.layout(), slab.data(), fused.data(), slab.scratch(),
                                        distances.data());
    const double norm = std::sqrt(kernels::Norm<T>::sum_of_squares(fused.data(), slab.row_size()));
    const auto experts = static_cast<std::size_t>(slab.experts());
    for (std::size_t i = 0; i < experts; ++i) {
      double sum = 0;
      for (std::size_t at = i; at < distances.size(); at += experts) sum += distances[at];
      layer.spread.push_back(std::sqrt(sum) / norm);
    }
    return layer;
  }

  std::map<std::string, std::vector<double>> previous_;
};

}  // namespace exfusion
