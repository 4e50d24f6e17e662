#pragma once

#include <cmath>
#include <filesystem>
#include <string>

#include <exfusion/train/metrics.hpp>

#include "temporary_folder.hpp"

namespace exfusion::testing {

/// Text that breaks a page in which it is not escaped.
inline const std::string hostile = "<script>alert(\"it's\")</script> & </pre>";

/// Writes the rows of a finished run of 100 steps to `folder`, every name and text in it hostile.
inline void write_whole_run(const std::filesystem::path& folder, const std::string& items) {
  train::MetricsWriter metrics(folder, train::MetricsWriter::fresh);
  metrics.write(train::RunRow{.items = items,
                              .model = "model " + hostile,
                              .feed_forward = "experts " + hostile,
                              .parameters = 1234567,
                              .exported_parameters = 345678,
                              .steps = 100});
  FusionDiagnostics layer;
  layer.weights = {0.25, 0.75, 0.5, 0.5};
  layer.groups = 2;
  layer.spread = {0.1, 0.2};
  layer.entropy = 0.5;
  layer.movement = 0.001;
  for (Index step = 1; step <= 100; ++step) {
    const double loss = 1 + std::exp(-0.05 * static_cast<double>(step));
    metrics.write(train::TrainRow{.step = step,
                                  .epoch = 0.1 * static_cast<double>(step),
                                  .loss = step == 50 ? train::unknown : loss,
                                  .gradient_norm = step == 30 ? 100 : 0.5,
                                  .learning_rate = 1e-3,
                                  .items_per_second = 1000,
                                  .mfu = 0.4,
                                  .seconds = 36.0 * static_cast<double>(step),
                                  .memory_bytes = Index{3} << 30,
                                  .bad_steps = step / 50});
    if (step % 10 != 0) continue;
    metrics.write(train::ValidationRow{
        .step = step, .loss = loss + 0.1, .accuracy = 0.5, .average_loss = loss, .average_accuracy = 0.625});
    layer.name = "blocks.0." + hostile;
    metrics.write(train::FusionRow{.step = step, .layers = {layer}});
  }
  metrics.write(train::SampleRow{.step = 90, .text = "\nfirst line\n" + hostile + std::string("\0\x1B", 2)});
  metrics.write(train::EventRow{.step = 50, .text = "bad step " + hostile});
  metrics.write(train::ConfusionRow{.step = 100, .classes = {"cat", hostile}, .counts = {{8, 2}, {0, 4}}});
  metrics.write(train::ImagesRow{.step = 100,
                                 .images = {{.width = 4,
                                             .height = 4,
                                             .png = "iVBORw0KGgo=",
                                             .label = "cat",
                                             .prediction = hostile,
                                             .probability = 0.625,
                                             .attention = {0.5, 0.25, 0.25, 0},
                                             .grid = 2}}});
  metrics.write(train::ResultRow{
      .step = 100, .loss = 1.25, .collapsed_loss = 1.25, .average_loss = 1.125, .accuracy = 0.75});
}

}  // namespace exfusion::testing
