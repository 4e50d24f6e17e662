#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <exfusion/train/report/html.hpp>

namespace exfusion::train::report {

/// One axis of a plot: what range it shows, and where it bears numbers.
struct Axis {
  double low = 0;
  double high = 1;
  bool logarithmic = false;
  std::vector<double> ticks = {};
  std::vector<std::string> labels = {};  ///< One for each tick.

  /// Where `value` stands: 0 at the low end, 1 at the high one.
  double place(double value) const {
    if (!logarithmic) return (value - low) / (high - low);
    return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
  }
};

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
inline double nice_step(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

/// The label of `value`, with numbers `step` apart and the largest of them `most`: all get the same decimals
/// and the same unit, such as 1.5k, 2.0k or 5e-5, 10e-5.
inline std::string tick_label(double value, double step, double most) {
  if (std::abs(value) < step / 2) return "0";
  double size = 1;
  std::string unit;
  if (most >= 1e12 || most < 0.01) {
    const double power = std::floor(std::log10(most) + 1e-9);
    size = std::pow(10, power);
    unit.append("e").append(std::to_string(static_cast<int>(power)));
  } else if (most >= 1e4) {
    size = most >= 1e9 ? 1e9 : most >= 1e6 ? 1e6 : 1e3;
    unit += most >= 1e9 ? 'G' : most >= 1e6 ? 'M' : 'k';
  }
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step / size) - 1e-9)), 0, 12);
  return fixed(value / size, decimals) + unit;
}

/// From `low` to `high` with at most `most_ticks` + 1 round numbers at least `least_step` apart. The two may
/// be equal.
inline Axis linear_axis(double low, double high, int most_ticks, double least_step = 0) {
  const double least_span = 1e-9 * std::max(std::abs(low), std::abs(high));
  if (high - low <= least_span) {
    const double margin = low == 0 ? 0.5 : 0.05 * std::abs(low);
    low -= margin;
    high += margin;
  }
  Axis axis{low, high};
  const double step = nice_step(std::max((high - low) / most_ticks, least_step));
  const double slack = 1e-6 * (high - low);
  const auto first = static_cast<Index>(std::ceil((low - slack) / step));
  const auto last = static_cast<Index>(std::floor((high + slack) / step));
  for (Index i = first; i <= last; ++i) {
    axis.ticks.push_back(static_cast<double>(i) * step);
    axis.labels.push_back(tick_label(axis.ticks.back(), step, std::max(std::abs(low), std::abs(high))));
  }
  return axis;
}

/// From `low` to `high`, both positive, with powers of ten, and 2 and 5 times these where the span is short.
inline Axis log_axis(double low, double high) {
  Axis axis{low / 1.1, high * 1.1, true};
  const double decades = std::log10(axis.high) - std::log10(axis.low);
  const int every = std::max(1, static_cast<int>(std::ceil(decades / 6)));
  const auto first = static_cast<int>(std::floor(std::log10(axis.low)));
  const auto last = static_cast<int>(std::floor(std::log10(axis.high)));
  for (int power = first; power <= last; ++power) {
    for (double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, power);
      const bool wanted = factor == 1 ? power % every == 0 : decades < 2.2;
      if (!wanted || tick < axis.low || tick > axis.high) continue;
      axis.ticks.push_back(tick);
      const bool short_enough = tick >= 0.01 && tick < 1e4;
      axis.labels.push_back(short_enough ? number(tick) : tick_label(tick, tick, tick));
    }
  }
  return axis;
}

}  // namespace exfusion::train::report
