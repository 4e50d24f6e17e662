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

}  // namespace exfusion::bench
