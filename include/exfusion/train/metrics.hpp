#pragma once

#include <cmath>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/nn/fusion_diagnostics.hpp>

namespace exfusion::train {

// The rows of metrics.jsonl: one JSON object a line, of the kind that its "kind" names (docs/runs.md).
// Numbers that are not finite are null.

/// The run as a whole.
struct RunRow {
  std::string items;  ///< "tokens" or "images".
  std::string model;
  std::string feed_forward;
  Index parameters = 0;
  Index exported_parameters = 0;
  Index steps = 0;
};

/// Training since the row before.
struct TrainRow {
  Index step = 0;
  double epoch = 0;
  double loss = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  double items_per_second = 0;
  double mfu = 0;
  double seconds = 0;
  double memory_bytes = 0;
  Index bad_steps = 0;
};

/// An evaluation, of the moving average too if there is one; accuracies for images only.
struct ValidationRow {
  Index step = 0;
  double epoch = 0;
  double loss = 0;
  std::optional<double> accuracy = {};
  std::optional<double> average_loss = {};
  std::optional<double> average_accuracy = {};
  bool best = false;
};

/// The experts of each fused layer.
struct FusionRow {
  Index step = 0;
  std::vector<FusionDiagnostics> layers;
};

/// A text that the model has written.
struct SampleRow {
  Index step = 0;
  std::string text;
};

/// Something worth telling: a checkpoint, a step that was skipped.
struct EventRow {
  Index step = 0;
  std::string text;
};

/// What a run came to.
struct ResultRow {
  Index step = 0;
  double loss = 0;
  std::optional<double> collapsed_loss = {};
  std::optional<double> average_loss = {};
  std::optional<double> accuracy = {};
  std::optional<double> collapsed_accuracy = {};
  std::optional<double> average_accuracy = {};
};

namespace detail {

inline void put_optional(nlohmann::ordered_json& row, const char* key, const std::optional<double>& value) {
  if (value) row[key] = *value;
}

inline nlohmann::ordered_json row_of(const RunRow& row) {
  return {{"kind", "run"},
          {"items", row.items},
          {"model", row.model},
          {"feed_forward", row.feed_forward},
          {"parameters", row.parameters},
          {"exported_parameters", row.exported_parameters},
          {"steps", row.steps}};
}

inline nlohmann::ordered_json row_of(const TrainRow& row) {
  return {{"kind", "train"},
          {"step", row.step},
          {"epoch", row.epoch},
          {"loss", row.loss},
          {"gradient_norm", row.gradient_norm},
          {"learning_rate", row.learning_rate},
          {"items_per_second", row.items_per_second},
          {"mfu", row.mfu},
          {"seconds", row.seconds},
          {"memory_bytes", row.memory_bytes},
          {"bad_steps", row.bad_steps}};
}

inline nlohmann::ordered_json row_of(const ValidationRow& row) {
  nlohmann::ordered_json json{
      {"kind", "validation"}, {"step", row.step}, {"epoch", row.epoch}, {"loss", row.loss}};
  put_optional(json, "accuracy", row.accuracy);
  put_optional(json, "average_loss", row.average_loss);
  put_optional(json, "average_accuracy", row.average_accuracy);
  json["best"] = row.best;
  return json;
}

inline nlohmann::ordered_json row_of(const FusionRow& row) {
  auto layers = nlohmann::ordered_json::array();
  for (const FusionDiagnostics& layer : row.layers) {
    layers.push_back({{"name", layer.name},
                      {"weights", layer.weights},
                      {"groups", layer.groups},
                      {"entropy", layer.entropy},
                      {"movement", layer.movement},
                      {"spread", layer.spread}});
  }
  return {{"kind", "fusion"}, {"step", row.step}, {"layers", layers}};
}

inline nlohmann::ordered_json row_of(const SampleRow& row) {
  return {{"kind", "sample"}, {"step", row.step}, {"text", row.text}};
}

inline nlohmann::ordered_json row_of(const EventRow& row) {
  return {{"kind", "event"}, {"step", row.step}, {"text", row.text}};
}

inline nlohmann::ordered_json row_of(const ResultRow& row) {
  nlohmann::ordered_json json{{"kind", "result"}, {"step", row.step}, {"loss", row.loss}};
  put_optional(json, "collapsed_loss", row.collapsed_loss);
  put_optional(json, "average_loss", row.average_loss);
  put_optional(json, "accuracy", row.accuracy);
  put_optional(json, "collapsed_accuracy", row.collapsed_accuracy);
  put_optional(json, "average_accuracy", row.average_accuracy);
  return json;
}

}  // namespace detail

enum class MetricsStart { fresh, resume };

/// Writes metrics.jsonl in a run's folder.
class MetricsWriter {
 public:
  MetricsWriter(const std::filesystem::path& folder, MetricsStart start)
      : path_(folder / "metrics.jsonl"),
        file_(path_, O_WRONLY | O_CREAT | O_APPEND | (start == MetricsStart::fresh ? O_TRUNC : 0)) {}

  template <class Row>
  void write(const Row& row) {
    const std::string line =
        detail::row_of(row).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    file_.write_all(std::as_bytes(std::span(line)));
  }

  void truncate_to(Index) {}

 private:
  std::filesystem::path path_;
  exfusion::detail::FileDescriptor file_;
};

}  // namespace exfusion::train
