#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <exfusion/nn/fusion_diagnostics.hpp>

namespace exfusion::train {

/// The diagnostics of all fused layers as a table of text, a line for each: weights a and spread as their
/// smallest and largest value over the experts. Empty when there is no layer.
inline std::string fusion_table(const std::vector<FusionDiagnostics>& layers) {
  if (layers.empty()) return {};
  char line[160];
  std::snprintf(line, sizeof line, "%-16s %-17s %8s %10s   %s\n", "fused layer", "a (min..max)", "entropy",
                "movement", "|W_i - W| / |W| (min..max)");
  std::string table = line;
  for (const FusionDiagnostics& layer : layers) {
    const auto [least_a, most_a] = std::ranges::minmax(layer.weights);
    const auto [least, most] = std::ranges::minmax(layer.spread);
    std::snprintf(line, sizeof line, "%-16s %.5f..%.5f  %8.5f %10.2e   %.2e..%.2e\n", layer.name.c_str(),
                  least_a, most_a, layer.entropy, layer.movement, least, most);
    table += line;
  }
  return table;
}

}  // namespace exfusion::train
