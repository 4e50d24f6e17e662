#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <ostream>
#include <string>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::train {

/// 93 as "1:33", 3725 as "1:02:05".
inline std::string clock_text(double seconds) {
  const auto total = static_cast<long long>(std::llround(std::clamp(seconds, 0.0, 3.6e9)));
  char text[32];
  if (total < 3600) {
    std::snprintf(text, sizeof text, "%lld:%02lld", total / 60, total % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  }
  return text;
}

/// 1234567 as "1.23M", 12345 as "12.3k", 987 as "987": three digits.
inline std::string count_text(double count) {
  const char* unit = "";
  for (const char* larger : {"k", "M", "G"}) {
    if (count < 999.5) break;
    count /= 1000;
    unit = larger;
  }
  const bool whole = *unit == '\0' || count >= 99.95;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%s", whole ? 0 : count >= 9.995 ? 1 : 2, count, unit);
  return text;
}

struct ProgressOptions {
  Index steps = 0;      ///< Of the whole run.
  Index interval = 10;  ///< Steps between two lines where the line cannot be redrawn.
  Index items_per_step = 1;
  std::string items = "tokens";  ///< What the speed counts.
};

/// What one training step tells.
struct StepReport {
  double loss = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
};

/// The status line of a training run: on a terminal one line redrawn in place, otherwise a plain line at each
/// interval. The loss shown is the mean since the line before.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// To standard output.
  explicit Progress(ProgressOptions options)
      : Progress(std::move(options), std::cout, ::isatty(STDOUT_FILENO) == 1) {}
  /// To `out`; `in_place` tells whether that is a terminal.
  Progress(ProgressOptions options, std::ostream& out, bool in_place)
      : options_(std::move(options)), out_(out), in_place_(in_place) {
    if (options_.interval < 1) {
      throw ConfigError("progress", "interval is ", options_.interval, ": it must be at least 1");
    }
  }

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { finish(); }

  /// Counts one step and shows the line if it is time.
  void step(const StepReport& report) {
    ++step_;
    ++steps_since_;
    loss_sum_ += report.loss;
    const auto now = Clock::now();
    const bool last = step_ == options_.steps;
    const bool due = step_ % options_.interval == 0 || last;
    if (!due && (!in_place_ || now - drawn_ < std::chrono::milliseconds(200))) return;
    show(report, now);
    if (due) restart(now);
  }

  /// Prints a line of `parts` that stays, above the status line. The time since the last step (an evaluation,
  /// say) does not count against the speed.
  template <class... Parts>
  void note(const Parts&... parts) {
    if (in_place_) out_ << '\r' << "\x1b[K";
    (out_ << ... << parts) << '\n' << std::flush;
    if (in_place_) out_ << shown_ << std::flush;
    restart(Clock::now());
  }

  /// Ends the line that is redrawn, so that ordinary output can follow.
  void finish() {
    if (in_place_ && !shown_.empty()) out_ << '\n' << std::flush;
    shown_.clear();
  }

  /// Seconds since the beginning.
  double seconds() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

 private:
  void show(const StepReport& report, Clock::time_point now) {
    const double window = std::chrono::duration<double>(now - window_begin_).count();
    const double speed = static_cast<double>(steps_since_ * options_.items_per_step) / std::max(window, 1e-9);
    const double eta = seconds() / static_cast<double>(step_) * static_cast<double>(options_.steps - step_);
    char text[256];
    std::snprintf(text, sizeof text,
                  "step %*lld/%lld | loss %.4f | %s %s/s | ETA %s | grad norm %.3g | lr %.2e",
                  static_cast<int>(std::to_string(options_.steps).size()), static_cast<long long>(step_),
                  static_cast<long long>(options_.steps), loss_sum_ / static_cast<double>(steps_since_),
                  count_text(speed).c_str(), options_.items.c_str(), clock_text(eta).c_str(),
                  report.gradient_norm, report.learning_rate);
    shown_ = text;
    drawn_ = now;
    if (in_place_) {
      shown_.resize(std::min(shown_.size(), terminal_columns() - 1));
      out_ << '\r' << shown_ << "\x1b[K" << std::flush;
    } else {
      out_ << shown_ << '\n' << std::flush;
    }
  }

  void restart(Clock::time_point now) {
    window_begin_ = now;
    steps_since_ = 0;
    loss_sum_ = 0;
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
  double loss_sum_ = 0;
  std::string shown_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point window_begin_ = begin_;
  Clock::time_point drawn_ = begin_ - std::chrono::hours(1);
};

}  // namespace exfusion::train
