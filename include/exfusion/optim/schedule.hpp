#pragma once

#include <cmath>
#include <numbers>
#include <string_view>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion {

// Learning rates as pure functions of the step, which counts from 0: a run makes the steps 0 .. steps - 1.
// All warm up alike: lr (step + 1) / warmup for step < warmup, and exactly lr at step == warmup. Those that
// decay reach exactly min_lr at the last step and keep it. docs/optimizers.md has a table of values.

struct ConstantScheduleOptions {
  double lr = 3e-4;
  Index warmup = 0;  ///< Steps of warm-up.
};

struct DecayScheduleOptions {
  double lr = 3e-4;
  double min_lr = 0;
  Index warmup = 0;
  Index steps = 0;  ///< Steps of the whole run.
};

struct WsdScheduleOptions {
  double lr = 3e-4;
  double min_lr = 0;
  Index warmup = 0;
  Index decay = 0;  ///< Steps of decay at the end of the run.
  Index steps = 0;
};

namespace detail {

inline void check_rates(std::string_view where, double lr, double min_lr, Index warmup) {
  if (!(lr >= 0) || !std::isfinite(lr)) {
    throw ConfigError(where, "lr is ", lr, ": it must be finite and not negative");
  }
  if (!(min_lr >= 0) || min_lr > lr) {
    throw ConfigError(where, "min_lr is ", min_lr, ": it must be between 0 and lr = ", lr);
  }
  if (warmup < 0) throw ConfigError(where, "warmup is ", warmup, ": it must not be negative");
}

inline void check_steps(std::string_view where, Index warmup, Index steps) {
  if (steps < 1) throw ConfigError(where, "steps is ", steps, ": it must be at least 1");
  if (warmup >= steps) {
    throw ConfigError(where, "warmup is ", warmup, ": it must be less than steps = ", steps);
  }
}

inline void check_steps(std::string_view where, Index warmup, Index decay, Index steps) {
  if (decay < 0) throw ConfigError(where, "decay is ", decay, ": it must not be negative");
  check_steps(where, warmup, steps);
  if (warmup >= steps - decay) {
    throw ConfigError(where, "warmup = ", warmup, " and decay = ", decay, " do not fit into steps = ", steps,
                      ": together they must be fewer");
  }
}

/// The warm-up, then lr brought down to min_lr by `fall` (0 to 1).
inline double rate_at(Index step, double lr, double min_lr, Index warmup, double fall) {
  if (step < 0) throw ConfigError("schedule", "step is ", step, ": steps count from 0");
  if (step < warmup) return lr * (static_cast<double>(step + 1) / static_cast<double>(warmup));
  return std::lerp(lr, min_lr, fall);
}

/// How far `step` is from `begin` (0) to `end` (1, also where both are equal).
inline double progress(Index step, Index begin, Index end) {
  if (step >= end) return 1;
  return step <= begin ? 0.0 : static_cast<double>(step - begin) / static_cast<double>(end - begin);
}

}  // namespace detail

/// lr for ever, after the warm-up. Throws ConfigError for negative numbers, as all schedules do.
class ConstantSchedule {
 public:
  explicit ConstantSchedule(ConstantScheduleOptions options) : options_(options) {
    detail::check_rates("constant_schedule", options.lr, 0, options.warmup);
  }
  /// Learning rate of `step`. Throws ConfigError when it is negative.
  double at(Index step) const { return detail::rate_at(step, options_.lr, options_.lr, options_.warmup, 0); }

 private:
  ConstantScheduleOptions options_;
};

/// From lr at step `warmup` on a straight line to min_lr at step `steps - 1`. Throws ConfigError unless
/// warmup < steps.
class LinearSchedule {
 public:
  explicit LinearSchedule(DecayScheduleOptions options) : options_(options) {
    detail::check_rates("linear_schedule", options.lr, options.min_lr, options.warmup);
    detail::check_steps("linear_schedule", options.warmup, options.steps);
  }
  double at(Index step) const {
    const double fall = detail::progress(step, options_.warmup, options_.steps - 1);
    return detail::rate_at(step, options_.lr, options_.min_lr, options_.warmup, fall);
  }

 private:
  DecayScheduleOptions options_;
};

/// From lr at step `warmup` along half a cosine to min_lr at step `steps - 1` (Loshchilov and Hutter, arXiv
/// 1608.03983, without restarts). Throws ConfigError unless warmup < steps.
class CosineSchedule {
 public:
  explicit CosineSchedule(DecayScheduleOptions options) : options_(options) {
    detail::check_rates("cosine_schedule", options.lr, options.min_lr, options.warmup);
    detail::check_steps("cosine_schedule", options.warmup, options.steps);
  }
  double at(Index step) const {
    const double progress = detail::progress(step, options_.warmup, options_.steps - 1);
    const double fall = 0.5 * (1 - std::cos(std::numbers::pi * progress));
    return detail::rate_at(step, options_.lr, options_.min_lr, options_.warmup, fall);
  }

 private:
  DecayScheduleOptions options_;
};

/// Warm-up, stable, decay (arXiv 2404.06395): lr up to step `steps - 1 - decay`, then on a straight line to
/// min_lr at step `steps - 1`; with decay = 0 it stays at lr. Throws ConfigError unless warmup + decay <
/// steps.
class WsdSchedule {
 public:
  explicit WsdSchedule(WsdScheduleOptions options) : options_(options) {
    detail::check_rates("wsd_schedule", options.lr, options.min_lr, options.warmup);
    detail::check_steps("wsd_schedule", options.warmup, options.decay, options.steps);
  }
  double at(Index step) const {
    const Index last = options_.steps - 1;
    const double fall = options_.decay == 0 ? 0 : detail::progress(step, last - options_.decay, last);
    return detail::rate_at(step, options_.lr, options_.min_lr, options_.warmup, fall);
  }

 private:
  WsdScheduleOptions options_;
};

}  // namespace exfusion
