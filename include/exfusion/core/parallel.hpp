#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

#include <exfusion/core/scalar.hpp>

namespace exfusion {

/// Calls `body(begin, end)` on consecutive ranges of `grain` items that cover [0, count), in parallel and in
/// any order. The ranges do not depend on the number of threads. `body` must not throw.
template <class Body>
void parallel_for(Index count, Index grain, const Body& body) {
  const Index ranges = (count + grain - 1) / grain;
#pragma omp parallel for schedule(dynamic) if (ranges > 1)
  for (Index range = 0; range < ranges; ++range) {
    body(range * grain, std::min(count, (range + 1) * grain));
  }
}

/// Sums `body(begin, end)` over ranges of at least `smallest_range` items that cover [0, count). The ranges
/// and the order of summation depend on these two numbers alone, so the result is the same to the bit for any
/// number of threads.
template <class Body>
double parallel_sum(Index count, const Body& body, Index smallest_range = 4096) {
  constexpr Index most_ranges = 128;
  const Index grain = std::max(smallest_range, (count + most_ranges - 1) / most_ranges);
  std::array<double, most_ranges> partial{};
  parallel_for(count, grain, [&](Index begin, Index end) {
    partial[static_cast<std::size_t>(begin / grain)] = static_cast<double>(body(begin, end));
  });
  double sum = 0;
  for (double value : partial) sum += value;
  return sum;
}

}  // namespace exfusion
