#pragma once

#include <filesystem>
#include <functional>

#include <nlohmann/json.hpp>

#include <exfusion/autograd/context.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/train/checkpoint_manager.hpp>
#include <exfusion/train/progress.hpp>

namespace exfusion::train {

struct TrainingOptions {
  Index steps = 0;
  Index accumulate = 1;                        ///< Passes whose gradients make one step.
  std::function<double(Index)> learning_rate;  ///< Of step 0, 1, ...
  AdamWOptions adamw = {};
  double clip = 1;  ///< Largest norm of the gradient; 0: no clipping.
  double ema = 0;   ///< Decay of the weights' moving average; 0: none.
  Precision precision = Precision::fp32;
  bool recompute = false;
  Index max_bad_steps = 10;           ///< Steps in a row that are skipped because a number is not finite.
  double reload_lr_factor = 0.5;      ///< Multiplies the learning rate after going back to a checkpoint.
  Index patience = 0;                 ///< Evaluations without a better loss that end the run; 0: any number.
  double max_minutes = 0;             ///< Training time that ends the run; 0: any.
  Index stop_after = 0;               ///< Step after which the run stops as at a signal; 0: none.
  std::filesystem::path folder = {};  ///< Where checkpoints and metrics go; empty: nowhere.
  CheckpointOptions checkpoints = {};
  nlohmann::json config = {};  ///< What every checkpoint says of the run's configuration.
  ProgressOptions progress = {};
};

/// Why a run is over.
enum class Ending {
  none,         ///< It goes on.
  finished,     ///< All steps done, or patience or time used up.
  interrupted,  ///< By a signal: it can go on from its last checkpoint.
  not_finite    ///< Too many steps in a row had numbers that are not finite.
};

/// The options themselves. Throws ConfigError naming the first that cannot work, and its limit.
inline TrainingOptions checked(TrainingOptions options) {
  const auto require = [](bool holds, const char* name, auto value, const char* limit) {
    if (!holds) throw ConfigError("training", name, " is ", value, ": it must be ", limit);
  };
  require(options.steps >= 1, "steps", options.steps, "at least 1");
  require(options.accumulate >= 1, "accumulate", options.accumulate, "at least 1");
  require(options.max_bad_steps >= 1, "max_bad_steps", options.max_bad_steps, "at least 1");
  require(options.patience >= 0, "patience", options.patience, "0 or more");
  require(options.max_minutes >= 0, "max_minutes", options.max_minutes, "0 or more");
  return options;
}

}  // namespace exfusion::train
