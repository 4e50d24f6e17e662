#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <exfusion/train/report/read_metrics.hpp>
#include <exfusion/train/report/svg_plot.hpp>

namespace exfusion::train::report {

/// Names of the fused layers in the order of the first row that has each.
inline std::vector<std::string> layer_names(const std::vector<FusionRow>& rows) {
  std::vector<std::string> names;
  for (const FusionRow& row : rows) {
    for (const FusionDiagnostics& layer : row.layers) {
      if (std::ranges::find(names, layer.name) == names.end()) names.push_back(layer.name);
    }
  }
  return names;
}

/// The points (step, field) of one layer.
inline Points layer_points(const std::vector<FusionRow>& rows, const std::string& name, const auto& field) {
  return points_of(rows, [&](const FusionRow& row) {
    const auto layer = std::ranges::find(row.layers, name, &FusionDiagnostics::name);
    return layer == row.layers.end() ? unknown : static_cast<double>(field(*layer));
  });
}

/// A curve for each layer.
inline std::string layers_plot(const RunMetrics& metrics, PlotOptions options, const auto& field) {
  options.short_legend = true;
  const std::vector<std::string> names = layer_names(metrics.fusion);
  std::vector<Series> curves;
  for (std::size_t i = 0; i < names.size(); ++i) {
    curves.push_back(
        {names[i], layer_points(metrics.fusion, names[i], field), ordered_colour(i, names.size())});
  }
  return line_plot(options, curves);
}

/// Expert `expert`'s weight a, its mean where a layer has several groups.
inline double mean_weight(const FusionDiagnostics& layer, std::size_t expert) {
  const auto groups = static_cast<std::size_t>(layer.groups);
  const std::size_t experts = layer.weights.size() / groups;
  if (expert >= experts) return unknown;
  double sum = 0;
  for (std::size_t group = 0; group < groups; ++group) sum += layer.weights[group * experts + expert];
  return sum / static_cast<double>(groups);
}

inline double mean_spread(const FusionDiagnostics& layer) {
  if (layer.spread.empty()) return unknown;
  return std::reduce(layer.spread.begin(), layer.spread.end()) / static_cast<double>(layer.spread.size());
}

/// The most experts of any layer.
inline std::size_t expert_count(const std::vector<FusionRow>& rows) {
  std::size_t count = 0;
  for (const FusionRow& row : rows) {
    for (const FusionDiagnostics& layer : row.layers) {
      count = std::max(count, layer.weights.size() / static_cast<std::size_t>(layer.groups));
    }
  }
  return count;
}

/// Range of all weights over layers and time, so that the layers' plots share an axis.
inline Range weight_range(const std::vector<FusionRow>& rows, std::size_t experts) {
  Range range;
  for (const FusionRow& row : rows) {
    for (const FusionDiagnostics& layer : row.layers) {
      for (std::size_t i = 0; i < experts; ++i) range.include(mean_weight(layer, i));
    }
  }
  return range;
}

/// The experts' weights over time, a plot for each layer.
inline std::string weight_plots(const RunMetrics& metrics) {
  const std::size_t experts = expert_count(metrics.fusion);
  const Range range = weight_range(metrics.fusion, experts);
  if (range.empty()) return {};
  const bool grouped = std::ranges::any_of(metrics.fusion.back().layers,
                                           [](const FusionDiagnostics& layer) { return layer.groups > 1; });
  const std::string unit = grouped ? "mean over the groups" : "";
  std::string plots;
  for (const std::string& name : layer_names(metrics.fusion)) {
    std::vector<Series> curves;
    for (std::size_t i = 0; i < experts; ++i) {
      const auto weight = [i](const FusionDiagnostics& layer) { return mean_weight(layer, i); };
      curves.push_back({"expert " + std::to_string(i), layer_points(metrics.fusion, name, weight),
                        ordered_colour(i, experts)});
    }
    plots += line_plot(
        {.title = name, .unit = unit, .scale = Scale::linear, .range = range, .short_legend = true}, curves);
  }
  return plots;
}

/// What becomes of the experts; nothing when the model has none.
inline std::string fusion_plots(const RunMetrics& metrics) {
  const std::string uniform = number(std::log(static_cast<double>(expert_count(metrics.fusion))));
  const auto entropy = [](const FusionDiagnostics& layer) { return layer.entropy; };
  const auto movement = [](const FusionDiagnostics& layer) {
    return layer.movement > 0 ? layer.movement : unknown;
  };
  const std::string plots =
      layers_plot(
          metrics,
          {.title = "Entropy of the weights", .unit = "nats; uniform: " + uniform, .scale = Scale::linear},
          entropy) +
      layers_plot(metrics, {.title = "Diversity", .unit = "|Wᵢ − W| / |W|, mean over the experts"},
                  mean_spread) +
      layers_plot(metrics, {.title = "Movement of the weights", .unit = "Σ |change of aᵢ| per step"},
                  movement);
  const std::string weights = weight_plots(metrics);
  if (plots.empty() && weights.empty()) return {};
  return element("div", "class=\"plots\"", plots) +
         element("h3", "", "Weights a of the experts, layer by layer") +
         element("div", "class=\"plots\"", weights);
}

}  // namespace exfusion::train::report
