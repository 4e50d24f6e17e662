#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <exfusion/train/report/read_metrics.hpp>
#include <exfusion/train/report/svg_plot.hpp>

namespace exfusion::train::report {

/// "nats per token" or "nats per image".
inline std::string loss_unit(const RunMetrics& metrics) {
  return metrics.run.items == "images" ? "nats per image" : "nats per token";
}

inline Points training_loss(const RunMetrics& metrics) {
  return points_of(metrics.training, &TrainRow::loss);
}
inline Points validation_loss(const RunMetrics& metrics) {
  return points_of(metrics.validation, &ValidationRow::loss);
}

/// How many neighbours on either side a training loss is averaged with; 0: so few points need none.
inline std::size_t smoothing_width(std::size_t points) { return points < 60 ? 0 : points / 60; }

/// A curve of a number that jitters: smoothed, and as it is behind that, where there are many points.
inline std::vector<Series> smoothed_curves(const std::string& name, const Points& points,
                                           const std::string& colour) {
  const std::size_t width = smoothing_width(points.size());
  if (width == 0) return {{name, points, colour}};
  return {{"", points, colour, Look::faint}, {name + ", smoothed", smooth(points, width), colour}};
}

/// Training, validation and the average's validation loss, and those of the run to compare with.
inline std::vector<Series> loss_curves(const RunMetrics& metrics, const RunMetrics* other) {
  std::vector<Series> curves = smoothed_curves("training", training_loss(metrics), palette(0));
  curves.push_back({"validation", validation_loss(metrics), palette(1), Look::marked});
  curves.push_back({"validation, average",
                    points_of(metrics.validation,
                              [](const ValidationRow& row) { return row.average_loss.value_or(unknown); }),
                    palette(2), Look::marked});
  if (other != nullptr) {
    const Points training = training_loss(*other);
    curves.push_back({other->name + ", training", smooth(training, smoothing_width(training.size())),
                      palette(4), Look::dashed});
    curves.push_back({other->name + ", validation", validation_loss(*other), palette(3), Look::dashed});
  }
  return curves;
}

/// The plot of the curves, and beside it the same without their first fifth, in which a loss falls so far
/// that nothing of what follows can be seen.
inline std::string plot_with_detail(PlotOptions options, std::vector<Series> curves) {
  const std::string whole = line_plot(options, curves);
  double last = 0;
  for (const Series& curve : curves) {
    for (const Point& point : curve.points) last = std::max(last, point.x);
  }
  std::size_t most_points = 0;
  for (Series& curve : curves) {
    std::erase_if(curve.points, [last](const Point& point) { return point.x < 0.2 * last; });
    most_points = std::max(most_points, curve.points.size());
  }
  if (most_points < 5) return whole;
  options.title += ", without the first fifth";
  options.cut_outliers = true;
  return whole + line_plot(options, curves);
}

inline std::string loss_plots(const RunMetrics& metrics, const RunMetrics* other) {
  return plot_with_detail({.title = "Loss", .unit = loss_unit(metrics)}, loss_curves(metrics, other));
}

/// Accuracies of an image model.
inline std::string accuracy_plot(const RunMetrics& metrics, const RunMetrics* other) {
  const auto accuracy = [](const RunMetrics& run, auto field) {
    return points_of(run.validation,
                     [field](const ValidationRow& row) { return 100 * (row.*field).value_or(unknown); });
  };
  std::vector<Series> curves{
      {"validation", accuracy(metrics, &ValidationRow::accuracy), palette(1), Look::marked},
      {"validation, average", accuracy(metrics, &ValidationRow::average_accuracy), palette(2), Look::marked}};
  if (other != nullptr) {
    curves.push_back(
        {other->name + ", validation", accuracy(*other, &ValidationRow::accuracy), palette(3), Look::dashed});
  }
  return line_plot({.title = "Accuracy", .unit = "%", .scale = Scale::linear}, curves);
}

/// Resident memory, in the unit that suits it.
inline std::string memory_plot(const RunMetrics& metrics) {
  Index most = 0;
  for (const TrainRow& row : metrics.training) most = std::max(most, row.memory_bytes);
  const bool large = most >= 1 << 30;
  const double unit = large ? 1 << 30 : 1 << 20;
  const auto memory = [unit](const TrainRow& row) {
    return row.memory_bytes > 0 ? static_cast<double>(row.memory_bytes) / unit : unknown;
  };
  return line_plot({.title = "Memory", .unit = large ? "GiB" : "MiB", .scale = Scale::from_zero},
                   {{"resident", points_of(metrics.training, memory), palette(0)}});
}

/// Tokens or images a second, and the share of the machine's peak that this is.
inline std::string speed_plots(const RunMetrics& metrics) {
  const bool has_mfu = std::ranges::any_of(metrics.training, [](const TrainRow& row) { return row.mfu > 0; });
  const auto mfu = [has_mfu](const TrainRow& row) { return has_mfu ? 100 * row.mfu : unknown; };
  const std::string unit = metrics.run.items + "/s";
  const Points speed = points_of(metrics.training, &TrainRow::items_per_second);
  return line_plot({.title = "Throughput", .unit = unit, .scale = Scale::from_zero},
                   smoothed_curves(unit, speed, palette(0))) +
         line_plot({.title = "MFU", .unit = "model FLOPs, % of the peak", .scale = Scale::from_zero},
                   smoothed_curves("MFU", points_of(metrics.training, mfu), palette(0)));
}

/// What the optimizer and the machine do.
inline std::string training_plots(const RunMetrics& metrics) {
  const Points rate = points_of(metrics.training, &TrainRow::learning_rate);
  const Points norm = points_of(metrics.training, &TrainRow::gradient_norm);
  const std::string plots =
      line_plot({.title = "Learning rate", .scale = Scale::from_zero},
                {{"learning rate", rate, palette(0)}}) +
      line_plot({.title = "Gradient norm"}, smoothed_curves("before clipping", norm, palette(0))) +
      speed_plots(metrics) + memory_plot(metrics);
  return plots.empty() ? plots : element("div", "class=\"plots\"", plots);
}

}  // namespace exfusion::train::report
