#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace exfusion::bench {

/// The middle of a few measurements, or the mean of the two in the middle.
inline double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// The median of a[i] / b[i], of measurements taken in turns: clock rates and neighbours change less from one
/// turn to the next than over all of them.
inline double median_ratio(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> ratios(a.size());
  std::ranges::transform(a, b, ratios.begin(), [](double above, double below) { return above / below; });
  return median(ratios);
}

}  // namespace exfusion::bench
