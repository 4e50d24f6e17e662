#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <ostream>
#include <string>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/train/units.hpp>

namespace exfusion::train {

/// Bytes of memory that this process uses now; 0 where the system does not tell.
inline double memory_use() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

struct ProgressOptions {
  Index steps = 0;       ///< Of the whole run.
  Index first_step = 0;  ///< Steps done before: where a resumed run goes on.
  Index interval = 10;   ///< Steps between two lines where the line cannot be redrawn.
  Index items_per_step = 1;
  std::string items = "tokens";  ///< What the speed counts.
  double flops_per_step = 0;     ///< Of the model, for the MFU; 0: not shown.
  double peak_flops = 0;         ///< Of the machine, per second.
  bool quiet = false;            ///< Whether only `warn` writes anything.
};

/// What one training step tells.
struct StepReport {
  double loss = 0;  ///< Mean since the line before.
  double gradient_norm = 0;
  double learning_rate = 0;
  double validation_loss = std::numeric_limits<double>::quiet_NaN();  ///< The last; NaN: none yet.
};

/// How fast a run has been since the line before.
struct Pace {
  double items_per_second = 0;
  double mfu = 0;  ///< Model FLOPs utilisation: share of the machine's peak, 0 where it is not known.
};

/// The status line of a training run: on a terminal one line redrawn in place, otherwise a plain line at each
/// interval.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// To standard output.
  explicit Progress(ProgressOptions options)
      : Progress(std::move(options), std::cout, ::isatty(STDOUT_FILENO) == 1) {}
  /// To `out`; `in_place` tells whether that is a terminal.
  Progress(ProgressOptions options, std::ostream& out, bool in_place)
      : options_(std::move(options)), out_(out), in_place_(in_place), step_(options_.first_step) {
    if (options_.interval < 1) {
      throw ConfigError("progress", "interval is ", options_.interval, ": it must be at least 1");
    }
  }

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { finish(); }

  /// Counts one step and shows the line if it is time. Returns whether an interval ends here (or the run):
  /// when a row of metrics is due.
  bool step(const StepReport& report) {
    ++step_;
    ++steps_since_;
    const auto now = Clock::now();
    const bool due = step_ % options_.interval == 0 || step_ == options_.steps;
    if (!due && (!in_place_ || now - drawn_ < std::chrono::milliseconds(200))) return false;
    measure(now);
    if (!options_.quiet) show(report, now);
    if (due) restart(now);
    return due;
  }

  /// Goes back to `step` steps, where training goes on from.
  void rewind(Index step) {
    step_ = step;
    restart(Clock::now());
  }

  /// Prints a line of `parts` that stays, above the status line. The time since the last step (an evaluation,
  /// say) does not count against the speed.
  template <class... Parts>
  void note(const Parts&... parts) {
    if (!options_.quiet) warn(parts...);
    restart(Clock::now());
  }

  /// The same, said also in quiet runs.
  template <class... Parts>
  void warn(const Parts&... parts) {
    if (in_place_) out_ << '\r' << "\x1b[K";
    (out_ << ... << parts) << '\n' << std::flush;
    if (in_place_) out_ << shown_ << std::flush;
  }

  /// Ends the line that is redrawn, so that ordinary output can follow.
  void finish() {
    if (in_place_ && !shown_.empty()) out_ << '\n' << std::flush;
    shown_.clear();
  }

  /// As the last line said.
  const Pace& pace() const { return pace_; }
  /// Seconds since the beginning.
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  void measure(Clock::time_point now) {
    const double window = std::max(std::chrono::duration<double>(now - window_begin_).count(), 1e-9);
    const double steps_per_second = static_cast<double>(steps_since_) / window;
    pace_.items_per_second = steps_per_second * static_cast<double>(options_.items_per_step);
    if (options_.peak_flops > 0) pace_.mfu = steps_per_second * options_.flops_per_step / options_.peak_flops;
  }

  void show(const StepReport& report, Clock::time_point now) {
    const auto done = static_cast<double>(step_), all = static_cast<double>(options_.steps);
    const double per_step = seconds() / static_cast<double>(std::max<Index>(1, step_ - options_.first_step));
    char text[160];
    std::snprintf(text, sizeof text, "step %*lld/%lld (%.0f %%) | loss %.4f",
                  static_cast<int>(std::to_string(options_.steps).size()), static_cast<long long>(step_),
                  static_cast<long long>(options_.steps), std::floor(100 * done / all), report.loss);
    shown_ = text;
    if (std::isfinite(report.validation_loss)) add(" | val loss %.4f", report.validation_loss);
    shown_ += " | " + count_text(pace_.items_per_second) + ' ' + options_.items + "/s";
    if (pace_.mfu > 0) add(" | MFU %.0f %%", 100 * pace_.mfu);
    shown_ += " | ETA " + clock_text(per_step * (all - done));
    add(" | grad norm %.3g", report.gradient_norm);
    add(" | lr %.2e", report.learning_rate);
    shown_ += " | " + byte_text(memory_use());
    drawn_ = now;
    if (in_place_) {
      shown_.resize(std::min(shown_.size(), terminal_columns() - 1));
      out_ << '\r' << shown_ << "\x1b[K" << std::flush;
    } else {
      out_ << shown_ << '\n' << std::flush;
    }
  }

  void add(const char* form, double value) {
    char text[64];
    std::snprintf(text, sizeof text, form, value);
    shown_ += text;
  }

  void restart(Clock::time_point now) {
    window_begin_ = now;
    steps_since_ = 0;
  }

  static std::size_t terminal_columns() {
    struct winsize size {};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 80;
    return size.ws_col;
  }

  ProgressOptions options_;
  std::ostream& out_;
  bool in_place_;
  Index step_ = 0;
  Index steps_since_ = 0;
  Pace pace_;
  std::string shown_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point window_begin_ = begin_;
  Clock::time_point drawn_ = begin_ - std::chrono::hours(1);
};

}  // namespace exfusion::train
