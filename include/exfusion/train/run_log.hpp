#pragma once

#include <cstdio>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

#include <exfusion/train/metrics.hpp>
#include <exfusion/train/progress.hpp>

namespace exfusion::train {

/// What a run tells: the status line, and metrics in its folder if it has one. A folder that cannot be
/// written to never ends the run: it is said once, and metrics are missing from there on.
class RunLog {
 public:
  /// `is_new`: the metrics in `folder` are replaced; otherwise they are cut to `step`, where the run goes on.
  /// `folder` empty: no metrics. Throws IoError when the metrics cannot be written, FormatError when those
  /// there cannot be read.
  RunLog(const std::filesystem::path& folder, ProgressOptions options, bool is_new, Index step,
         const RunRow& description)
      : progress_(std::move(options)) {
    if (folder.empty()) return;
    metrics_.emplace(folder, is_new ? MetricsWriter::fresh : MetricsWriter::resume);
    if (!is_new) metrics_->truncate_to(step);
    metrics_->write(description);
  }

  Progress& progress() { return progress_; }
  const Progress& progress() const { return progress_; }

  /// Adds a row of any kind to the metrics.
  template <class Row>
  void write(const Row& row) {
    if (!metrics_) return;
    try {
      metrics_->write(row);
    } catch (const IoError& error) {
      progress_.warn(error.what(), ": the run goes on without metrics");
      metrics_.reset();
    }
  }

  /// Adds an evaluation, and says its result.
  void evaluation(const ValidationRow& row) {
    write(row);
    const auto text = [](double loss, const std::optional<double>& accuracy) {
      char line[80];
      std::snprintf(line, sizeof line, accuracy ? "%.4f, accuracy %.2f %%" : "%.4f", loss,
                    100 * accuracy.value_or(0));
      return std::string(line);
    };
    std::string average;
    if (row.average_loss) average = "; moving average " + text(*row.average_loss, row.average_accuracy);
    char epoch[32];
    std::snprintf(epoch, sizeof epoch, "%.1f", row.epoch);
    progress_.note("step ", row.step, ", epoch ", epoch, ": validation loss ", text(row.loss, row.accuracy),
                   average, row.best ? "; the best so far" : "");
  }

  /// Says `parts` on a line of its own, and in the metrics.
  template <class... Parts>
  void event(Index step, const Parts&... parts) {
    const std::string text = joined(parts...);
    progress_.note(text);
    write(EventRow{.step = step, .text = text});
  }

  /// The same for what has gone wrong, said also in quiet runs.
  template <class... Parts>
  void problem(Index step, const Parts&... parts) {
    const std::string text = joined(parts...);
    progress_.warn(text);
    write(EventRow{.step = step, .text = text});
  }

  /// Forgets what was said of later steps: training goes on from `step`.
  void rewind(Index step) {
    progress_.rewind(step);
    if (metrics_) metrics_->truncate_to(step);
  }

 private:
  template <class... Parts>
  static std::string joined(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
  }

  Progress progress_;
  std::optional<MetricsWriter> metrics_;
};

}  // namespace exfusion::train
