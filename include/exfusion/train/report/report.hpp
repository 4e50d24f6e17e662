#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <exfusion/core/file.hpp>
#include <exfusion/train/report/fusion_plots.hpp>
#include <exfusion/train/report/pictures.hpp>
#include <exfusion/train/report/summary.hpp>
#include <exfusion/train/report/training_plots.hpp>

namespace exfusion::train {

namespace report {

/// The whole page on one run; `other`, if not null, is laid over its losses and results.
inline std::string report_page(const RunMetrics& metrics, const RunMetrics* other) {
  std::string learning = loss_plots(metrics, other) + accuracy_plot(metrics, other);
  if (!learning.empty()) learning = element("div", "class=\"plots large\"", learning);
  return page(metrics.name + " – ExFusion run",
              header(metrics) + section("Results", results_table(metrics, other)) +
                  section("Learning", learning) + section("Training", training_plots(metrics)) +
                  section("Fusion", fusion_plots(metrics)) + section("Images", image_section(metrics)) +
                  section("Samples", samples_text(metrics)) + section("Events", events_table(metrics)) +
                  section("Configuration", preformatted(metrics.configuration)));
}

}  // namespace report

struct ReportOptions {
  std::optional<std::filesystem::path> compare = {};  ///< Folder of a run to lay over this one's losses.
};

/// Writes `run_folder`/report.html, one page that needs nothing else: what metrics.jsonl and config.toml in
/// the folder tell, whether the run goes on or has ended. Throws IoError when a file cannot be read or the
/// page not be written, FormatError when a line of a metrics.jsonl is damaged (read_metrics.hpp).
inline void write_report(const std::filesystem::path& run_folder, const ReportOptions& options = {}) {
  const RunMetrics metrics = read_run(run_folder);
  std::optional<RunMetrics> other;
  if (options.compare) other = read_run(*options.compare);
  write_file_atomically(run_folder / "report.html", report::report_page(metrics, other ? &*other : nullptr));
}

}  // namespace exfusion::train
