#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <exfusion/autograd/step_state.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// How a memory bank remembers: an exponential moving average, or the mean of the last steps.
enum class BankMemory { moving_average, window };

struct MemoryBankOptions {
  BankMemory memory = BankMemory::moving_average;
  double beta = 0.99;  ///< Of the moving average.
  Index window = 64;   ///< Steps that the window holds.
};

/// What a router has said lately: E numbers b that start at 1/E. Observations of one step (one for each
/// micro-batch) are averaged to a, which `end_step` folds in, t being the number of steps before:
///   moving_average  b = beta' b + (1 - beta') a, beta' = min(beta, (1 + t) / (10 + t))
///   window          b = mean of the last n steps' a
template <Scalar T>
class MemoryBank : public StepState<T> {
 public:
  MemoryBank() = default;

  /// Throws ConfigError when `experts` is not positive, beta not in [0, 1) or the window not in [1, 2^20].
  MemoryBank(Index experts, const MemoryBankOptions& options) : options_(options), experts_(experts) {
    if (experts < 1) throw ConfigError("memory_bank", "experts is ", experts, ": at least 1 is needed");
    if (!(options.beta >= 0 && options.beta < 1)) {
      throw ConfigError("memory_bank", "beta is ", options.beta, ": it must be in [0, 1)");
    }
    if (options.window < 1 || options.window > longest_window) {
      throw ConfigError("memory_bank", "window is ", options.window, ": it must be between 1 and ",
                        longest_window);
    }
    values_.assign(static_cast<std::size_t>(experts + 2 + window() * experts), T{0});
    std::ranges::fill(bank(), T{1} / static_cast<T>(experts));
    sum_.assign(static_cast<std::size_t>(experts), 0.0);
  }

  /// b [1, E], as a view of the bank.
  Tensor<T> weights() { return Tensor<T>(values_.data(), {1, experts_}); }

  /// Steps folded in so far.
  Index steps() const { return static_cast<Index>(values_[static_cast<std::size_t>(experts_)]); }

  /// Takes a [1, E] of one training pass. Throws NotFiniteError when a weight is not finite.
  void observe(const Tensor<T>& a) {
    for (Index i = 0; i < experts_; ++i) {
      if (std::isfinite(a.data()[i])) continue;
      throw NotFiniteError("memory_bank", "the router's weight ", i, " is ", a.data()[i],
                           ": its parameters or the layer's input are not finite");
    }
    for (Index i = 0; i < experts_; ++i) sum_[static_cast<std::size_t>(i)] += a.data()[i];
    ++observations_;
  }

  void end_step() override {
    if (observations_ == 0) return;
    for (double& sum : sum_) sum /= static_cast<double>(observations_);
    options_.memory == BankMemory::window ? fold_into_window() : fold_into_average();
    T& steps = values_[static_cast<std::size_t>(experts_)];
    steps = std::min(steps + T{1}, most_steps);
    skip_step();
  }

  void skip_step() override {
    std::ranges::fill(sum_, 0.0);
    observations_ = 0;
  }

  /// b [E], number of steps, the window's next place, the window [n, E].
  std::span<T> values() override { return values_; }

 private:
  static constexpr T most_steps = T{1 << 24};  // float counts no further
  static constexpr Index longest_window = Index{1} << 20;

  Index window() const { return options_.memory == BankMemory::window ? options_.window : 0; }
  std::span<T> bank() { return std::span<T>(values_).first(static_cast<std::size_t>(experts_)); }

  void fold_into_average() {
    const auto t = static_cast<double>(steps());
    const double beta = std::min(options_.beta, (1 + t) / (10 + t));
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      values_[i] = static_cast<T>(beta * static_cast<double>(values_[i]) + (1 - beta) * sum_[i]);
    }
  }

  void fold_into_window() {
    T& place = values_[sum_.size() + 1];
    const std::span<T> ring = std::span<T>(values_).subspan(sum_.size() + 2);
    const auto next = static_cast<std::size_t>(place) * sum_.size();
    for (std::size_t i = 0; i < sum_.size(); ++i) ring[next + i] = static_cast<T>(sum_[i]);
    place = static_cast<T>((static_cast<Index>(place) + 1) % window());
    const auto filled = static_cast<std::size_t>(std::min(window(), steps() + 1));
    for (std::size_t i = 0; i < sum_.size(); ++i) {
      double total = 0;
      for (std::size_t step = 0; step < filled; ++step)
        total += static_cast<double>(ring[step * sum_.size() + i]);
      values_[i] = static_cast<T>(total / static_cast<double>(filled));
    }
  }

  MemoryBankOptions options_;
  Index experts_ = 0;
  std::vector<T> values_;
  std::vector<double> sum_;
  Index observations_ = 0;
};

}  // namespace exfusion
