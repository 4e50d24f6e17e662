#pragma once

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <type_traits>

#include <omp.h>

#include <exfusion/models/collapse.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/train/memory_plan.hpp>
#include <exfusion/train/progress.hpp>

#include "options.hpp"

// What the two training loops have in common.

namespace exfusion::examples {

/// A number with four decimals, as losses are printed.
inline std::string fixed(double value, int decimals = 4) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// 1234567 as "1,234,567".
inline std::string with_commas(Index value) {
  const std::string digits = std::to_string(value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

/// One line on the feed-forward networks, one on the number of parameters.
template <class Model>
void print_size(const Model& model, const Options& o) {
  std::cout << "feed-forward networks: ";
  if (o.ffn == "dense") std::cout << "dense\n";
  if (o.ffn == "moe")
    std::cout << "sparse mixtures of " << o.experts << " experts, " << o.moe_k << " for each token\n";
  if (o.ffn == "exfusion") {
    std::cout << o.experts << " experts fused into one, rule " << o.fusion << ", initialised as "
              << o.expert_init << '\n';
  }
  std::cout << "parameters: " << with_commas(parameter_count<float>(model)) << " trained";
  if (o.ffn == "exfusion")
    std::cout << ", " << with_commas(exported_parameter_count<float>(model)) << " exported";
  std::cout << '\n';
}

/// One line on the training to come.
inline void print_training(const Options& o) {
  std::cout << "training: " << with_commas(o.steps) << " steps, AdamW, learning rate " << o.lr << ' '
            << o.schedule;
  if (o.schedule != "constant") std::cout << " to " << *o.min_lr;
  std::cout << ", warm-up " << *o.warmup << ", seed " << o.seed << ", " << omp_get_max_threads()
            << " threads, " << o.precision << '\n';
  if (o.ffn != "moe") {
    std::cout << (o.out.empty() ? "output: none (choose a folder by --out)" : "output: " + o.out) << '\n';
  }
  std::cout << '\n' << std::flush;
}

/// Prints what a step would take. `Config` is the model's; `tokens` of a sequence, 0 for images.
template <class Config>
void print_plan(const Config& config, const Options& o, Index tokens = 0) {
  const train::StepPlan step{.pass = {.batch = o.batch,
                                      .tokens = tokens,
                                      .recompute = o.recompute,
                                      .precision = o.product_precision()},
                             .accumulate = o.accumulate,
                             .average = o.ema > 0,
                             .bf16_moments = o.bf16_moments};
  std::cout << train::memory_table(train::plan_memory(config, ffn_plan(o), step));
}

/// What is evaluated beside the trained model and saved: the collapsed model where experts are fused, else a
/// copy.
template <class Model>
auto exported(const Model& model) {
  using FeedForwardNetwork = std::remove_cvref_t<decltype(model.blocks.front().ffn)>;
  if constexpr (requires(const FeedForwardNetwork& ffn) { ffn.collapsed(); }) {
    return collapse(model);
  } else {
    return model;
  }
}

/// The norm of the step's gradient, which is scaled down to `most` where that is not 0.
template <Scalar T>
double clip(const ParameterList<T>& parameters, double most) {
  return most > 0 ? clip_gradient_norm(parameters, most) : gradient_norm(parameters);
}

/// Throws Error when training has left the finite numbers, before the step spoils the weights.
inline void require_finite(Index step, double loss, double norm) {
  if (std::isfinite(loss) && std::isfinite(norm)) return;
  throw Error("train", "the loss of step ", step + 1, " is ", loss, ", the norm of its gradient ", norm,
              ": both must be finite; a smaller --lr or a longer --warmup may help");
}

/// Whether step `step` (from 0) is one after which an evaluation is due; the last one has its own.
inline bool evaluation_due(Index step, const Options& o) {
  return o.eval_interval > 0 && (step + 1) % o.eval_interval == 0 && step + 1 < o.steps;
}

/// What an evaluation during training is called: it may see only a part of the data.
inline std::string evaluation_name(const Options& o) {
  return o.eval_batches == 0 ? "validation loss "
                             : "validation loss (" + std::to_string(o.eval_batches) + " batches) ";
}

/// Ends a run that a signal stopped.
inline int stop(train::Progress& progress, Index step) {
  progress.finish();
  std::cout << "interrupted after step " << step << ": nothing was saved\n";
  return interrupted;
}

}  // namespace exfusion::examples
