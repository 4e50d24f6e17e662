#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/core/file.hpp>
#include <exfusion/train/report/summary.hpp>
#include <exfusion/train/report/training_plots.hpp>

namespace exfusion::train {

namespace report {

using Configuration = std::map<std::string, std::string>;

inline std::string_view trimmed(std::string_view text) {
  constexpr std::string_view blank = " \t\r";
  const std::size_t first = text.find_first_not_of(blank);
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(blank) - first + 1);
}

/// `line` up to a # that stands outside quotation marks.
inline std::string_view without_comment(std::string_view line) {
  char quote = '\0';
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == '\0' && c == '#') return line.substr(0, i);
    if (quote == '"' && c == '\\') {
      ++i;
    } else if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    }
  }
  return line;
}

/// The settings of a config.toml as text: `section.key` to value. Only what the training programs write is
/// understood: sections, and values on one line.
inline Configuration settings(std::string_view text) {
  Configuration result;
  std::string prefix;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(without_comment(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('[') && line.ends_with(']')) {
      prefix = std::string(trimmed(line.substr(1, line.size() - 2))) + ".";
    } else if (const std::size_t equals = line.find('='); equals != std::string_view::npos) {
      result[prefix + std::string(trimmed(line.substr(0, equals)))] = trimmed(line.substr(equals + 1));
    }
  }
  return result;
}

/// The settings in which the runs differ, as a table; nothing when they are alike.
inline std::string differences_table(const std::vector<RunMetrics>& runs) {
  std::vector<Configuration> configurations;
  Configuration all;
  for (const RunMetrics& run : runs) {
    configurations.push_back(settings(run.configuration));
    all.insert(configurations.back().begin(), configurations.back().end());
  }
  std::vector<std::string> head{"setting"};
  for (const RunMetrics& run : runs) head.push_back(escaped(run.name));
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, some_value] : all) {
    std::vector<std::string> row{escaped(key)};
    bool differs = false;
    for (const Configuration& configuration : configurations) {
      const auto found = configuration.find(key);
      differs = differs || found == configuration.end() || found->second != some_value;
      row.push_back(found == configuration.end() ? number(unknown) : escaped(found->second));
    }
    if (differs) rows.push_back(row);
  }
  return rows.empty() ? std::string() : element("div", "class=\"text\"", table(head, rows));
}

inline std::vector<std::string> run_cells(const RunMetrics& run) {
  const ValidationRow* best = best_validation(run);
  const auto result = [&](auto field, auto text) {
    return run.result ? text((*run.result.*field)) : number(unknown);
  };
  const auto loss = [](std::optional<double> value) { return fixed(value.value_or(unknown), 4); };
  const auto share = [](std::optional<double> value) { return percent(value.value_or(unknown)); };
  return {escaped(run.name) + " " + state_mark(run.state),
          result(&ResultRow::loss, loss),
          result(&ResultRow::collapsed_loss, loss),
          result(&ResultRow::average_loss, loss),
          result(&ResultRow::accuracy, share),
          best == nullptr ? number(unknown) : fixed(best->loss, 4),
          with_commas(run.step()) + (run.run.steps > 0 ? " / " + with_commas(run.run.steps) : ""),
          speed_text(run),
          run.training.empty() || !std::isfinite(run.training.back().seconds)
              ? number(unknown)
              : clock_text(run.training.back().seconds),
          with_commas(run.run.parameters),
          with_commas(run.run.exported_parameters)};
}

/// The runs' figures beside each other. Columns in which no run has a value are left out.
inline std::string runs_table(const std::vector<RunMetrics>& runs) {
  std::vector<std::string> head{"run",           "loss at the end", "after collapse", "moving average",
                                "accuracy",      "best validation", "steps",          "throughput, median",
                                "training time", "parameters",      "exported"};
  std::vector<std::vector<std::string>> rows;
  rows.reserve(runs.size());
  for (const RunMetrics& run : runs) rows.push_back(run_cells(run));
  for (std::size_t column = head.size(); column-- > 1;) {
    const auto is_empty = [&](const auto& row) { return row[column] == number(unknown); };
    if (!std::ranges::all_of(rows, is_empty)) continue;
    const auto at = static_cast<std::ptrdiff_t>(column);
    head.erase(head.begin() + at);
    for (auto& row : rows) row.erase(row.begin() + at);
  }
  return table(head, rows);
}

/// The points against the hours of training at their steps instead of the steps.
inline Points over_hours(const Points& points, const std::vector<TrainRow>& training) {
  Points result;
  auto row = training.begin();
  double seconds = unknown;
  for (const Point& point : points) {
    for (; row != training.end() && static_cast<double>(row->step) <= point.x; ++row) seconds = row->seconds;
    if (std::isfinite(seconds)) result.push_back({seconds / 3600, point.y});
  }
  return result;
}

inline std::string comparison_plots(const std::vector<RunMetrics>& runs) {
  std::vector<Series> training, validation, hours;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Points points = training_loss(runs[i]), validated = validation_loss(runs[i]);
    const std::string colour = ordered_colour(i, runs.size());
    training.push_back({runs[i].name, smooth(points, smoothing_width(points.size())), colour});
    validation.push_back({runs[i].name, validated, colour, Look::marked});
    hours.push_back({runs[i].name, over_hours(validated, runs[i].training), colour, Look::marked});
  }
  const std::string unit = loss_unit(runs.front());
  const std::string plots =
      plot_with_detail({.title = "Validation loss", .unit = unit}, validation) +
      plot_with_detail({.title = "Validation loss against time", .unit = unit, .x_name = "hours"}, hours) +
      plot_with_detail({.title = "Training loss, smoothed", .unit = unit}, training);
  return plots.empty() ? plots : element("div", "class=\"plots large\"", plots);
}

/// Runs whose folders have the same name are called by their whole paths.
inline void tell_apart(std::vector<RunMetrics>& runs, const std::vector<std::filesystem::path>& folders) {
  std::map<std::string, int> uses;
  for (const RunMetrics& run : runs) ++uses[run.name];
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (uses[runs[i].name] > 1) runs[i].name = folders[i].string();
  }
}

inline std::string comparison_page(const std::vector<RunMetrics>& runs) {
  std::string models;
  for (const RunMetrics& run : runs) {
    std::string text = escaped(run.name) + ": " + escaped(run.run.model);
    if (!run.run.feed_forward.empty()) text += "; feed-forward networks: " + escaped(run.run.feed_forward);
    models += element("p", "class=\"soft\"", text);
  }
  const std::string title = "Comparison of " + std::to_string(runs.size()) + " runs";
  return page(title, element("header", "", element("h1", "", title) + models) + "\n" +
                         section("Results", runs_table(runs)) + section("Learning", comparison_plots(runs)) +
                         section("Settings that differ", differences_table(runs)));
}

}  // namespace report

/// Writes one page that compares runs: their losses over each other, their results, and the settings in which
/// they differ. Throws ConfigError when there are no runs; IoError and FormatError as write_report.
inline void write_comparison(const std::vector<std::filesystem::path>& run_folders,
                             const std::filesystem::path& output_path) {
  if (run_folders.empty())
    throw ConfigError("comparison", "there are no runs to compare: at least 1 is needed");
  std::vector<RunMetrics> runs;
  runs.reserve(run_folders.size());
  for (const auto& folder : run_folders) runs.push_back(read_run(folder));
  report::tell_apart(runs, run_folders);
  write_file_atomically(output_path, report::comparison_page(runs));
}

}  // namespace exfusion::train
