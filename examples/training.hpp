#pragma once

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include <omp.h>

#include <exfusion/io/ffn_config.hpp>
#include <exfusion/kernels/peak.hpp>
#include <exfusion/train/memory_plan.hpp>
#include <exfusion/train/report/report.hpp>
#include <exfusion/train/training_run.hpp>

#include "feed_forward_choice.hpp"
#include "run_start.hpp"

// What the two training loops have in common.

namespace exfusion::examples {

/// A number with four decimals, as losses are printed.
inline std::string fixed(double value, int decimals = 4) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

using train::with_commas;

/// What the feed-forward networks are.
inline std::string feed_forward_text(const Options& o) {
  const std::string experts = std::to_string(o.experts);
  if (o.ffn == "dense") return "dense";
  if (o.ffn == "moe")
    return "sparse mixtures of " + experts + " experts, " + std::to_string(o.moe_k) + " for each token";
  return experts + " experts fused into one, rule " + o.fusion + ", initialised as " + o.expert_init;
}

/// One line on the feed-forward networks, one on the number of parameters.
template <class Model>
void print_size(const Model& model, const Options& o) {
  std::cout << "feed-forward networks: " << feed_forward_text(o) << '\n';
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
  std::cout << (o.out.empty() ? "output: none (choose a folder by --out)" : "output: " + o.out);
  if (!o.out.empty() && o.ffn == "moe") std::cout << " (no model: a sparse mixture is no dense one)";
  std::cout << '\n';
  std::cout << '\n' << std::flush;
}

/// Overwrites the parameters of `to` by those of `from`, a dense model of the same shape.
template <class Model>
void copy_parameters(const Model& from, const Model& to) {
  const auto source = collect_parameters<float>(from), target = collect_parameters<float>(to);
  for (std::size_t i = 0; i < target.parameters.size(); ++i) {
    std::ranges::copy(source.parameters[i].tensor.values(), target.parameters[i].tensor.data());
    target.parameters[i].tensor.set_changed();
  }
}

/// What memory and work a step takes. `Config` is the model's; `tokens` of a sequence, 0 for images.
template <class Config>
train::MemoryPlan plan(const Config& config, const Options& o, Index tokens = 0) {
  const train::StepPlan step{.pass = {.batch = o.batch,
                                      .tokens = tokens,
                                      .recompute = o.recompute,
                                      .precision = o.product_precision()},
                             .accumulate = o.accumulate,
                             .average = o.ema > 0,
                             .checkpoints = !o.out.empty(),
                             .bf16_moments = o.bf16_moments};
  return train::plan_memory(config, train::ffn_plan(ffn_config(o)), step);
}

/// Whether an evaluation is due after `step` steps; the last one has its own.
inline bool evaluation_due(Index step, const Options& o) {
  return o.eval_interval > 0 && step % o.eval_interval == 0 && step < o.steps;
}

/// What the options say of a run's steps. `config`: of the model; `tokens` of a sequence, 0 for images.
template <class Config>
train::TrainingOptions training_options(const Config& config, const Options& o, const RunStart& start,
                                        nlohmann::json about, Index tokens = 0) {
  about["program"] = start.program;
  about["settings"] = start.settings;
  about["ffn"] = io::ffn_config(ffn_config(o));
  const bool rounds = o.product_precision() == Precision::bf16;
  return {
      .steps = o.steps,
      .accumulate = o.accumulate,
      .learning_rate = [schedule = make_schedule(o)](Index step) { return rate_at(schedule, step); },
      .adamw = {.lr = o.lr, .beta2 = o.beta2, .weight_decay = o.weight_decay, .bf16_moments = o.bf16_moments},
      .clip = o.clip,
      .ema = o.ema,
      .precision = o.product_precision(),
      .recompute = o.recompute,
      .max_bad_steps = o.max_bad_steps,
      .patience = o.patience,
      .max_minutes = o.max_minutes,
      .stop_after = o.stop_after,
      .folder = o.out,
      .checkpoints = {.interval = o.checkpoint_interval,
                      .minutes = o.checkpoint_minutes,
                      .keep_last = o.keep_last,
                      .replace = start.replace},
      .config = std::move(about),
      .progress = {.interval = o.log_interval,
                   .items_per_step = o.batch * o.accumulate * std::max<Index>(1, tokens),
                   .items = tokens > 0 ? "tokens" : "images",
                   .flops_per_step = plan(config, o, tokens).flops_of_step,
                   .peak_flops = rounds ? kernels::Peak<float>::bf16_operations_per_second()
                                        : kernels::Peak<float>::operations_per_second(),
                   .quiet = o.quiet}};
}

/// What the metrics say of the whole run.
template <class Model>
train::RunRow run_row(const Model& model, const std::string& description, const Options& o,
                      const char* items) {
  return {.items = items,
          .model = description,
          .feed_forward = feed_forward_text(o),
          .parameters = parameter_count<float>(model),
          .exported_parameters = exported_parameter_count<float>(model),
          .steps = o.steps};
}

/// Keeps the options beside the run, and says how it began.
template <class Run>
void say_start(Run& run, const RunStart& start, const Options& o) {
  if (!o.out.empty()) write_file_atomically(std::filesystem::path(o.out) / "config.toml", start.toml);
  for (const std::string& note : start.notes) run.log().problem(run.step(), note);
  if (start.checkpoint)
    run.log().event(run.step(), "goes on after step ", run.step(), " from ", start.checkpoint->path());
}

/// Writes the report anew. That it cannot be written does not end the run.
template <class Run>
void refresh_report(Run& run, const Options& o) {
  if (o.out.empty()) return;
  try {
    train::ReportOptions options;
    if (!o.compare.empty()) options.compare = o.compare;
    train::write_report(o.out, options);
  } catch (const Error& error) {
    run.log().progress().warn("the report could not be written: ", error.what());
  }
}

/// The exit code of a run that did not finish, and says so.
template <class Run>
std::optional<int> code_of_ending(Run& run, const RunStart& start, const Options& o) {
  run.log().progress().finish();
  if (run.ending() == train::Ending::finished) return std::nullopt;
  refresh_report(run, o);
  const std::string resume = o.out.empty() ? "" : "; go on by\n  " + start.program + " --resume " + o.out;
  if (run.ending() == train::Ending::interrupted) {
    std::cout << "interrupted after step " << run.step() << (o.out.empty() ? ": nothing was saved" : resume)
              << '\n';
    return interrupted;
  }
  std::cout << std::flush;
  std::cerr << "error: " << o.max_bad_steps << " steps in a row up to step " << run.step()
            << " had numbers that are not finite; a smaller --lr or a longer --warmup may help\n";
  return not_finite;
}

}  // namespace exfusion::examples
