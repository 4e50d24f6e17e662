#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/train/progress.hpp>
#include <exfusion/train/report/html.hpp>
#include <exfusion/train/report/read_metrics.hpp>

// What is said of a run in words and single numbers.

namespace exfusion::train::report {

inline const char* state_name(RunState state) {
  constexpr const char* names[] = {"running", "finished", "interrupted"};
  return names[static_cast<std::size_t>(state)];
}

inline std::string state_mark(RunState state) {
  return element("span", "class=\"state " + std::string(state_name(state)) + "\"", state_name(state));
}

/// The middle of the throughputs: a pause or a slow beginning does not count. NaN where none is known.
inline double median_throughput(const RunMetrics& metrics) {
  std::vector<double> values;
  for (const TrainRow& row : metrics.training) {
    if (std::isfinite(row.items_per_second)) values.push_back(row.items_per_second);
  }
  if (values.empty()) return unknown;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

/// The evaluation with the smallest loss; null where there is none.
inline const ValidationRow* best_validation(const RunMetrics& metrics) {
  const ValidationRow* best = nullptr;
  for (const ValidationRow& row : metrics.validation) {
    if (std::isfinite(row.loss) && (best == nullptr || row.loss < best->loss)) best = &row;
  }
  return best;
}

inline std::string parameters_text(const RunRow& run) {
  const std::string trained = with_commas(run.parameters) + " trained";
  if (run.exported_parameters == 0 || run.exported_parameters == run.parameters) return trained;
  return trained + ", " + with_commas(run.exported_parameters) + " exported";
}

inline std::string speed_text(const RunMetrics& metrics) {
  const double speed = median_throughput(metrics);
  return std::isfinite(speed) ? count_text(speed) + " " + escaped(metrics.run.items) + "/s" : number(speed);
}

inline std::string memory_text(double bytes) {
  return bytes >= 1 << 30 ? number(bytes / (1 << 30), 3) + " GiB" : number(bytes / (1 << 20), 3) + " MiB";
}

/// The numbers a reader looks for first.
inline std::string tiles(const RunMetrics& metrics) {
  std::vector<std::pair<std::string, std::string>> entries;
  if (const ValidationRow* best = best_validation(metrics)) {
    entries.emplace_back("best validation loss, step " + with_commas(best->step), fixed(best->loss, 4));
    if (best->accuracy) entries.emplace_back("accuracy there", percent(*best->accuracy));
  }
  if (!metrics.training.empty()) {
    const TrainRow& last = metrics.training.back();
    Index most_memory = 0;
    for (const TrainRow& row : metrics.training) most_memory = std::max(most_memory, row.memory_bytes);
    entries.emplace_back("throughput, median", speed_text(metrics));
    if (std::isfinite(last.seconds)) entries.emplace_back("time", clock_text(last.seconds));
    if (std::isfinite(last.epoch)) entries.emplace_back("epochs", fixed(last.epoch, 2));
    if (most_memory > 0) entries.emplace_back("most memory", memory_text(static_cast<double>(most_memory)));
    if (last.bad_steps > 0) entries.emplace_back("bad steps left out", with_commas(last.bad_steps));
  }
  std::string content;
  for (const auto& [name, value] : entries) {
    content += element("div", "", element("dt", "", name) + element("dd", "", value));
  }
  return content.empty() ? content : element("dl", "class=\"tiles\"", content);
}

inline std::string header(const RunMetrics& metrics) {
  const RunRow& run = metrics.run;
  std::string content = element("h1", "", escaped(metrics.name) + " " + state_mark(metrics.state));
  if (!run.model.empty()) content += element("p", "", escaped(run.model));
  if (!run.feed_forward.empty())
    content += element("p", "", "Feed-forward networks: " + escaped(run.feed_forward));
  if (run.parameters > 0) content += element("p", "", "Parameters: " + parameters_text(run));
  std::string steps = "step " + with_commas(metrics.step());
  if (run.steps > 0) {
    const double share = static_cast<double>(metrics.step()) / static_cast<double>(run.steps);
    steps += " of " + with_commas(run.steps) + " (" + percent(share, 0) + ")";
    content += element("progress", "max=\"1\" value=\"" + number(share) + "\" aria-label=\"Progress\"", "");
  }
  return element("header", "", content + element("p", "class=\"soft\"", steps) + tiles(metrics)) + "\n";
}

/// One line of the table of results; nothing when the loss was not measured.
inline void add_result(std::vector<std::vector<std::string>>& rows, const std::string& name, bool images,
                       std::optional<double> loss, std::optional<double> accuracy) {
  if (!loss) return;
  rows.push_back({escaped(name), fixed(*loss, 4),
                  images ? percent(accuracy.value_or(unknown)) : fixed(std::exp(*loss), 3)});
}

/// The final evaluation on all validation data, beside that of the run to compare with.
inline std::string results_table(const RunMetrics& metrics, const RunMetrics* other) {
  const bool images = metrics.run.items == "images";
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const RunMetrics& run, const std::string& of) {
    if (!run.result) return;
    const ResultRow& result = *run.result;
    add_result(rows, "trained model" + of, images, result.loss, result.accuracy);
    add_result(rows, "after collapse" + of, images, result.collapsed_loss, result.collapsed_accuracy);
    add_result(rows, "moving average" + of, images, result.average_loss, result.average_accuracy);
  };
  add(metrics, "");
  if (other != nullptr) add(*other, " of " + other->name);
  if (rows.empty()) return {};
  return table({"All validation data", "loss, nats", images ? "accuracy" : "perplexity"}, rows);
}

inline std::string samples_text(const RunMetrics& metrics) {
  constexpr std::size_t most = 4;
  std::string content;
  for (std::size_t i = 0; i < std::min(most, metrics.samples.size()); ++i) {
    const SampleRow& sample = metrics.samples[metrics.samples.size() - 1 - i];
    content += element("h3", "", "After step " + with_commas(sample.step)) + preformatted(sample.text);
  }
  return content;
}

inline std::string events_table(const RunMetrics& metrics) {
  constexpr std::size_t most = 200;
  const std::size_t first = metrics.events.size() - std::min(most, metrics.events.size());
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = first; i < metrics.events.size(); ++i) {
    rows.push_back({with_commas(metrics.events[i].step), escaped(metrics.events[i].text)});
  }
  if (rows.empty()) return {};
  const std::string left_out =
      first > 0 ? element("p", "class=\"soft\"",
                          "The last " + std::to_string(most) + " of " + std::to_string(metrics.events.size()))
                : "";
  return left_out + element("div", "class=\"text\"", table({"step", "event"}, rows));
}

}  // namespace exfusion::train::report
