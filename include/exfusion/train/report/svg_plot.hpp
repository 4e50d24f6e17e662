#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/train/report/axis.hpp>
#include <exfusion/train/report/html.hpp>
#include <exfusion/train/report/series.hpp>

// Plots of curves. The curves are SVG that is stretched to whatever room there is; the numbers at the axes
// are HTML beside it, and so are as large on a telephone as on a desk.

namespace exfusion::train::report {

/// Smallest and largest known value.
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

/// Of the vertical axis. `automatic`: logarithmic where all values are positive and span 1.5 decades.
enum class Scale { automatic, linear, from_zero };

struct PlotOptions {
  std::string title;
  std::string unit = {};  ///< Of the vertical axis.
  std::string x_name = "step";
  Scale scale = Scale::automatic;
  Range range = {};           ///< The vertical axis shows at least this.
  bool cut_outliers = false;  ///< Cut a hundredth of each curve's values at either end.
  bool short_legend = false;  ///< The curves have an order: of more than eight, name the first and the last.
};

/// From 0 where the values begin near it, or are a single one. Steps are whole numbers.
inline Axis horizontal_axis(const PlotOptions& options, const std::vector<Series>& curves) {
  Range range;
  for (const Series& curve : curves) {
    for (const Point& point : curve.points) range.include(point.x);
  }
  if (range.low > 0 && (range.low < 0.1 * range.high || range.low == range.high)) range.low = 0;
  return linear_axis(range.low, range.high, 6, options.x_name == "step" ? 1 : 0);
}

/// The range of a curve's known values, without that share of them at either end.
inline Range value_range(const Series& curve, double cut) {
  std::vector<double> values;
  for (const Point& point : curve.points) {
    if (std::isfinite(point.y)) values.push_back(point.y);
  }
  std::ranges::sort(values);
  const auto left_out = static_cast<std::size_t>(cut * static_cast<double>(values.size()));
  Range range;
  if (values.empty()) return range;
  range.include(values[left_out]);
  range.include(values[values.size() - 1 - left_out]);
  return range;
}

inline Axis vertical_axis(const PlotOptions& options, const std::vector<Series>& curves) {
  Range range = options.range;
  for (const Series& curve : curves) {
    const Range values = value_range(curve, options.cut_outliers ? 0.01 : 0);
    range.include(values.low);
    range.include(values.high);
  }
  const bool is_wide = range.low > 0 && std::log10(range.high) - std::log10(range.low) > 1.5;
  if (options.scale == Scale::automatic && is_wide) return log_axis(range.low, range.high);
  if (options.scale == Scale::from_zero) range.include(0);
  const double margin = 0.05 * (range.high - range.low);
  return linear_axis(range.low - (range.low == 0 ? 0 : margin), range.high + margin, 6);
}

/// The plane of the curves: 1000 by 1000, y downwards.
struct Plane {
  Axis x, y;

  /// What lies above or below stands at the edge.
  std::string point(const Point& at) const {
    const auto coordinate = [](double place) { return number(std::round(10000 * place) / 10, 5); };
    return coordinate(x.place(at.x)) + " " + coordinate(1 - std::clamp(y.place(at.y), 0.0, 1.0));
  }
  bool shows(const Point& at) const { return std::isfinite(at.y) && (!y.logarithmic || at.y > 0); }
};

/// A path through the points, broken at gaps; a point alone becomes a dot.
inline std::string path_data(const Plane& plane, const Points& points) {
  std::string path;
  std::size_t length = 0;
  for (std::size_t i = 0; i <= points.size(); ++i) {
    if (i < points.size() && plane.shows(points[i])) {
      path.append(length++ == 0 ? "M" : "L").append(plane.point(points[i]));
    } else {
      if (length == 1) path += "h0";
      length = 0;
    }
  }
  return path;
}

/// At most `most_points` of the curve's points, as paths.
inline std::string curve_paths(const Plane& plane, const Series& curve, std::size_t most_points) {
  constexpr std::string_view looks[] = {"line", "line faint", "line dashed", "line"};
  const Points points = downsample(curve.points, most_points);
  const std::string colour = " style=\"stroke:" + curve.colour + "\"";
  std::string paths = element("path",
                              "class=\"" + std::string(looks[static_cast<std::size_t>(curve.look)]) + "\"" +
                                  colour + " d=\"" + path_data(plane, points) + "\"",
                              "");
  const bool marked = curve.look == Look::marked ? points.size() <= 60 : points.size() == 1;
  if (!marked) return paths;
  std::string dots;
  for (const Point& point : points) {
    if (plane.shows(point)) dots.append("M").append(plane.point(point)).append("h0");
  }
  return paths + element("path", "class=\"dots\"" + colour + " d=\"" + dots + "\"", "");
}

/// Lines across the plane at the ticks.
inline std::string grid_lines(const Plane& plane) {
  std::string path;
  for (double tick : plane.y.ticks) path.append("M").append(plane.point({plane.x.low, tick})).append("h1000");
  for (double tick : plane.x.ticks)
    path.append("M").append(plane.point({tick, plane.y.high})).append("v1000");
  return element("path", "class=\"grid\" d=\"" + path + "\"", "");
}

/// The last point at or before `x`; none before the first.
inline std::optional<double> value_at(const Points& points, double x) {
  std::optional<double> value;
  for (const Point& point : points) {
    if (point.x <= x && std::isfinite(point.y)) value = point.y;
  }
  return value;
}

/// Stripes that tell, where the pointer rests on them, each curve's value there.
inline std::string hover_stripes(const Plane& plane, const PlotOptions& options,
                                 const std::vector<Series>& curves) {
  constexpr int stripes = 50;
  std::string result;
  for (int i = 0; i < stripes; ++i) {
    const double x = plane.x.low + (plane.x.high - plane.x.low) * (i + 1) / stripes;
    std::string text =
        options.x_name + " " + (options.x_name == "step" ? with_commas(std::llround(x)) : number(x));
    for (const Series& curve : curves) {
      const auto value = curve.name.empty() ? std::nullopt : value_at(curve.points, x);
      if (value) text += "\n" + curve.name + ": " + value_text(*value);
    }
    result += element("rect",
                      "class=\"stripe\" x=\"" + std::to_string(i * 1000 / stripes) + "\" y=\"0\" width=\"" +
                          std::to_string(1000 / stripes) + "\" height=\"1000\"",
                      element("title", "", escaped(text)));
  }
  return result;
}

/// The numbers of an axis, placed along `side` ("left" or "bottom").
inline std::string tick_labels(const Axis& axis, const char* name, const char* side) {
  std::string labels;
  for (std::size_t i = 0; i < axis.ticks.size(); ++i) {
    labels += element("span",
                      "style=\"" + std::string(side) + ":" + number(100 * axis.place(axis.ticks[i])) + "%\"",
                      axis.labels[i]);
  }
  return element("div", "class=\"" + std::string(name) + "\" aria-hidden=\"true\"", labels);
}

/// The named curves with their last values.
inline std::string legend(const PlotOptions& options, const std::vector<Series>& curves) {
  std::vector<const Series*> named;
  for (const Series& curve : curves) {
    if (!curve.name.empty()) named.push_back(&curve);
  }
  const bool shortened = options.short_legend && named.size() > 8;
  std::string items;
  for (std::size_t i = 0; i < named.size(); ++i) {
    const Series& curve = *named[i];
    if (shortened && i == 1) items += element("li", "", "…");
    if (shortened && i > 0 && i + 1 < named.size()) continue;
    const std::string key = "class=\"key" + std::string(curve.look == Look::dashed ? " dashed" : "") +
                            "\" style=\"border-color:" + curve.colour + "\"";
    items += element("li", "",
                     element("i", key, "") + escaped(curve.name) + ": " +
                         element("b", "", value_text(last_value(curve.points))));
  }
  return element("ul", "class=\"legend\"", items);
}

/// A figure with the curves that have any value; nothing when there is none.
inline std::string line_plot(const PlotOptions& options, std::vector<Series> curves) {
  std::erase_if(curves, [](const Series& curve) { return !has_values(curve.points); });
  if (curves.empty()) return {};
  const auto by_x = [](const Point& a, const Point& b) { return a.x < b.x; };
  for (Series& curve : curves) std::ranges::stable_sort(curve.points, by_x);
  const Plane plane{horizontal_axis(options, curves), vertical_axis(options, curves)};

  std::string drawing = grid_lines(plane);
  const std::size_t most_points = std::clamp<std::size_t>(4800 / curves.size(), 150, 600);
  for (const Series& curve : curves) drawing += curve_paths(plane, curve, most_points);
  drawing += hover_stripes(plane, options, curves);
  const std::string heading =
      escaped(options.title) + " " +
      element("small", "", escaped(options.unit) + (plane.y.logarithmic ? " (logarithmic)" : ""));
  const std::string svg =
      element("svg",
              "viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"" +
                  escaped(options.title) + "\"",
              drawing);
  return element("figure", "",
                 element("figcaption", "", heading) + legend(options, curves) +
                     element("div", "class=\"frame\"",
                             svg + tick_labels(plane.y, "y", "bottom") + tick_labels(plane.x, "x", "left")) +
                     element("p", "class=\"x-name\"", escaped(options.x_name))) +
         "\n";
}

}  // namespace exfusion::train::report
