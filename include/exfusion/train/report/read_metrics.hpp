#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <exfusion/train/metric_json.hpp>

namespace exfusion::train {

enum class RunState { running, finished, interrupted };

/// What a run folder tells about a run. Of what only its latest state matters, the last row is kept.
struct RunMetrics {
  std::string name;  ///< The folder's.
  RunRow run;
  std::vector<TrainRow> training;
  std::vector<ValidationRow> validation;
  std::vector<FusionRow> fusion;
  std::vector<SampleRow> samples;
  std::vector<EventRow> events;
  std::optional<ResultRow> result;
  std::optional<ConfusionRow> confusion;
  std::optional<ImagesRow> images;
  std::string configuration;  ///< The text of config.toml; empty when there is none.
  RunState state = RunState::running;

  /// Steps done.
  Index step() const {
    if (result) return result->step;
    return training.empty() ? 0 : training.back().step;
  }
};

namespace detail {

/// Throw std::runtime_error when the lists of a row do not fit together.
inline void check_lists(const FusionRow& row) {
  for (const FusionDiagnostics& layer : row.layers) {
    if (layer.groups < 1 || layer.weights.empty() ||
        layer.weights.size() % static_cast<std::size_t>(layer.groups) != 0) {
      throw std::runtime_error("weights: " + std::to_string(layer.weights.size()) + " weights are not " +
                               std::to_string(layer.groups) + " groups");
    }
  }
}
inline void check_lists(const ConfusionRow& row) {
  bool square = row.counts.size() == row.classes.size();
  for (const auto& counts : row.counts) square = square && counts.size() == row.classes.size();
  if (!square) throw std::runtime_error("counts: a row and a column for each class are needed");
}
inline void check_lists(const ImagesRow& row) {
  constexpr Index finest = 1024;
  for (const GalleryImage& image : row.images) {
    if (image.width < 1 || image.height < 1) throw std::runtime_error("width, height: 1 at least is needed");
    if (image.grid < 0 || image.grid > finest ||
        image.attention.size() != static_cast<std::size_t>(image.grid * image.grid)) {
      throw std::runtime_error("attention: a number for each cell of the grid is needed");
    }
  }
}
inline void check_lists(const auto&) {}

template <class Row>
Row checked_row(const Json& json) {
  Row row = row_from_json<Row>(json);
  check_lists(row);
  return row;
}

/// Takes in one row. Kinds that this version does not know are left aside.
inline void add_row(RunMetrics& metrics, const Json& row) {
  const std::string kind = row["kind"].get<std::string>();
  const auto append = [&]<class Row>(std::vector<Row>& rows) {
    if (kind == Row::kind) rows.push_back(checked_row<Row>(row));
  };
  const auto replace = [&]<class Row>(std::optional<Row>& latest) {
    if (kind == Row::kind) latest = checked_row<Row>(row);
  };
  if (kind == RunRow::kind) metrics.run = checked_row<RunRow>(row);
  append(metrics.training);
  append(metrics.validation);
  append(metrics.fusion);
  append(metrics.samples);
  append(metrics.events);
  replace(metrics.result);
  replace(metrics.confusion);
  replace(metrics.images);

  if (kind == TrainRow::kind || kind == RunRow::kind) metrics.state = RunState::running;
  if (kind == EventRow::kind && metrics.events.back().text.starts_with("interrupted")) {
    metrics.state = RunState::interrupted;
  }
  if (kind == TrainRow::kind && metrics.result && metrics.result->step < metrics.training.back().step) {
    metrics.result.reset();  // a finished run was continued
  }
}

/// Whether nothing has been written for so long that the run must have ended without a word.
inline bool is_abandoned(const std::filesystem::path& path) {
  std::error_code error;
  const auto written = std::filesystem::last_write_time(path, error);
  return !error && std::filesystem::file_time_type::clock::now() - written > std::chrono::hours(1);
}

/// "run" of "out/run", "out/run/" and "out/run/.".
inline std::string folder_name(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::path whole = std::filesystem::absolute(folder, error).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.has_filename() ? whole.filename().string() : folder.string();
}

}  // namespace detail

/// Reads metrics.jsonl and, if it is there, config.toml. A run has finished when its last rows hold a result,
/// and is interrupted when an event that begins with "interrupted" ends it, or nothing has been written for
/// an hour. Throws IoError when metrics.jsonl cannot be read, FormatError naming the file and the line when a
/// line other than a cut last one is not a row of a known form.
inline RunMetrics read_run(const std::filesystem::path& folder) {
  RunMetrics metrics;
  metrics.name = detail::folder_name(folder);
  const std::filesystem::path rows = folder / "metrics.jsonl", configuration = folder / "config.toml";
  for_each_metric(rows, [&](const detail::Json& row, std::size_t) { detail::add_row(metrics, row); });
  if (std::filesystem::exists(configuration)) metrics.configuration = read_file(configuration);
  if (metrics.result) {
    metrics.state = RunState::finished;
  } else if (detail::is_abandoned(rows)) {
    metrics.state = RunState::interrupted;
  }
  return metrics;
}

}  // namespace exfusion::train
