#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/train/metric_rows.hpp>

namespace exfusion::train::report {

struct Point {
  double x = 0;
  double y = 0;  ///< NaN: a gap.
};
using Points = std::vector<Point>;

enum class Look { line, faint, dashed, marked };

/// A curve of a plot.
struct Series {
  std::string name;  ///< Text for the legend; empty: none.
  Points points;
  std::string colour;  ///< A CSS colour.
  Look look = Look::line;
};

/// The curve's colour: one of eight that stay apart for the colour-blind, in light and dark.
inline std::string palette(std::size_t i) { return "var(--c" + std::to_string(i % 8) + ")"; }

/// The colour of item `i` of `count` in an order: of the palette where it suffices, else from blue to orange.
inline std::string ordered_colour(std::size_t i, std::size_t count) {
  if (count <= 8) return palette(i);
  const double share = static_cast<double>(i) / static_cast<double>(count - 1);
  const auto mix = [&](double from, double to) {
    return std::to_string(std::lround(from + share * (to - from)));
  };
  return "rgb(" + mix(60, 225) + " " + mix(120, 120) + " " + mix(215, 30) + ")";
}

/// The points (step, field) of rows; numbers that do not fit a plot become the largest that do.
template <class Row>
Points points_of(const std::vector<Row>& rows, const auto& field) {
  constexpr double most = 1e200;
  Points points;
  points.reserve(rows.size());
  for (const Row& row : rows) {
    const auto y = static_cast<double>(std::invoke(field, row));
    points.push_back({static_cast<double>(row.step), std::isnan(y) ? y : std::clamp(y, -most, most)});
  }
  return points;
}

inline bool has_values(const Points& points) {
  return std::ranges::any_of(points, [](const Point& point) { return std::isfinite(point.y); });
}

/// At most `most` points that look the same: of each stretch of equally many points the smallest and the
/// largest, so that spikes stay, and a gap where there is one.
inline Points downsample(const Points& points, std::size_t most = 600) {
  if (points.size() <= most) return points;
  const auto is_gap = [](const Point& point) { return std::isnan(point.y); };
  const std::size_t buckets = most / (std::ranges::any_of(points, is_gap) ? 3 : 2);
  Points kept;
  for (std::size_t bucket = 0; bucket < buckets; ++bucket) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(bucket * points.size() / buckets);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>((bucket + 1) * points.size() / buckets);
    auto least = end, largest = end, gap = end;
    for (auto point = begin; point != end; ++point) {
      if (is_gap(*point)) {
        gap = point;
        continue;
      }
      if (least == end || point->y < least->y) least = point;
      if (largest == end || point->y > largest->y) largest = point;
    }
    std::vector<Points::const_iterator> chosen{least, largest, gap};
    std::ranges::sort(chosen);
    chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
    for (const auto& point : chosen) {
      if (point != end) kept.push_back(*point);
    }
  }
  return kept;
}

/// At most `most` of the points, each the mean of itself and its neighbours, `half_width` on either side.
/// Gaps stay, and count for nothing.
inline Points smooth(const Points& points, std::size_t half_width, std::size_t most = 600) {
  Points result;
  const std::size_t stride = (points.size() + most - 1) / most;
  for (std::size_t i = 0; i < points.size(); i += stride) {
    const std::size_t begin = i - std::min(i, half_width), end = std::min(points.size(), i + half_width + 1);
    double sum = 0, weights = 0;
    for (std::size_t k = begin; k < end && std::isfinite(points[i].y); ++k) {
      if (!std::isfinite(points[k].y)) continue;
      const auto weight = static_cast<double>(half_width + 1 - (k > i ? k - i : i - k));
      sum += weight * points[k].y;
      weights += weight;
    }
    result.push_back({points[i].x, weights > 0 ? sum / weights : unknown});
  }
  return result;
}

/// The last known value; NaN where there is none.
inline double last_value(const Points& points) {
  for (auto point = points.rbegin(); point != points.rend(); ++point) {
    if (std::isfinite(point->y)) return point->y;
  }
  return unknown;
}

}  // namespace exfusion::train::report
