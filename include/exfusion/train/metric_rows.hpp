#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/nn/fusion_diagnostics.hpp>

// The rows of a run's metrics.jsonl, one struct for each kind. `fields` names what is written and read, so
// that the names stand in one place. A number that is not known is NaN and written as null; an absent
// optional is not written at all.

namespace exfusion::train {

inline constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// What the run is: written once at its beginning, and again by each resumption.
struct RunRow {
  static constexpr std::string_view kind = "run";

  std::string items = "tokens";   ///< What the throughput counts: "tokens" or "images".
  std::string model = {};         ///< One line of text.
  std::string feed_forward = {};  ///< One line of text.
  Index parameters = 0;           ///< Trained.
  Index exported_parameters = 0;
  Index steps = 0;  ///< Of the whole run.

  static void fields(auto& self, auto&& visit) {
    visit("items", self.items);
    visit("model", self.model);
    visit("feed_forward", self.feed_forward);
    visit("parameters", self.parameters);
    visit("exported_parameters", self.exported_parameters);
    visit("steps", self.steps);
  }
};

/// The training since the row before.
struct TrainRow {
  static constexpr std::string_view kind = "train";

  Index step = 0;  ///< Steps done, here and in the other rows.
  double epoch = unknown;
  double loss = unknown;  ///< In nats per token or image, here and in the other rows.
  double gradient_norm = unknown;
  double learning_rate = unknown;
  double items_per_second = unknown;
  double mfu = unknown;  ///< Share of the processor's peak that the model's own operations make up, 0 to 1.
  double seconds = unknown;  ///< Since the beginning of the run.
  Index memory_bytes = 0;    ///< Resident.
  Index bad_steps = 0;       ///< Steps left out so far because their loss or gradient was not finite.

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("epoch", self.epoch);
    visit("loss", self.loss);
    visit("gradient_norm", self.gradient_norm);
    visit("learning_rate", self.learning_rate);
    visit("items_per_second", self.items_per_second);
    visit("mfu", self.mfu);
    visit("seconds", self.seconds);
    visit("memory_bytes", self.memory_bytes);
    visit("bad_steps", self.bad_steps);
  }
};

/// An evaluation during training. Accuracies, 0 to 1, are those of image models; `average_` means the moving
/// average of the weights.
struct ValidationRow {
  static constexpr std::string_view kind = "validation";

  Index step = 0;
  double epoch = unknown;
  double loss = unknown;
  std::optional<double> accuracy = {};
  std::optional<double> average_loss = {};
  std::optional<double> average_accuracy = {};
  bool best = false;  ///< Whether no evaluation before gave a smaller loss.

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("epoch", self.epoch);
    visit("loss", self.loss);
    visit("accuracy", self.accuracy);
    visit("average_loss", self.average_loss);
    visit("average_accuracy", self.average_accuracy);
    visit("best", self.best);
  }
};

/// What the fused layers are like.
struct FusionRow {
  static constexpr std::string_view kind = "fusion";

  Index step = 0;
  std::vector<FusionDiagnostics> layers = {};

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("layers", self.layers);
  }
};

/// Text the model has generated.
struct SampleRow {
  static constexpr std::string_view kind = "sample";

  Index step = 0;
  std::string text = {};

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("text", self.text);
  }
};

/// Anything a reader of the report should know of: bad steps, trouble with checkpoints, resumptions.
struct EventRow {
  static constexpr std::string_view kind = "event";

  Index step = 0;
  std::string text = {};

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("text", self.text);
  }
};

/// The evaluation on all validation data that ends a run; `collapsed_` means the exported dense model.
struct ResultRow {
  static constexpr std::string_view kind = "result";

  Index step = 0;
  double loss = unknown;
  std::optional<double> collapsed_loss = {};
  std::optional<double> average_loss = {};
  std::optional<double> accuracy = {};
  std::optional<double> collapsed_accuracy = {};
  std::optional<double> average_accuracy = {};

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("loss", self.loss);
    visit("collapsed_loss", self.collapsed_loss);
    visit("average_loss", self.average_loss);
    visit("accuracy", self.accuracy);
    visit("collapsed_accuracy", self.collapsed_accuracy);
    visit("average_accuracy", self.average_accuracy);
  }
};

/// How often images of each class were taken for each class.
struct ConfusionRow {
  static constexpr std::string_view kind = "confusion";

  Index step = 0;
  std::vector<std::string> classes = {};
  std::vector<std::vector<Index>> counts = {};  ///< [classes, classes]: a row for each true class.

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("classes", self.classes);
    visit("counts", self.counts);
  }
};

/// A validation image and what the model makes of it.
struct GalleryImage {
  Index width = 0;  ///< In pixels.
  Index height = 0;
  std::string png = {};  ///< A PNG file in base64.
  std::string label = {};
  std::string prediction = {};
  double probability = unknown;        ///< Of the prediction.
  std::vector<double> attention = {};  ///< [grid, grid] from the top left; they sum to 1.
  Index grid = 0;                      ///< Patches along a side of the image.

  static void fields(auto& self, auto&& visit) {
    visit("width", self.width);
    visit("height", self.height);
    visit("png", self.png);
    visit("label", self.label);
    visit("prediction", self.prediction);
    visit("probability", self.probability);
    visit("attention", self.attention);
    visit("grid", self.grid);
  }
};

struct ImagesRow {
  static constexpr std::string_view kind = "images";

  Index step = 0;
  std::vector<GalleryImage> images = {};

  static void fields(auto& self, auto&& visit) {
    visit("step", self.step);
    visit("images", self.images);
  }
};

}  // namespace exfusion::train
