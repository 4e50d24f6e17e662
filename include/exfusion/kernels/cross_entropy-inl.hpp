#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/cross_entropy.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/fast_math.hpp>

namespace exfusion::kernels {

namespace detail {

// log sum exp of a row in one pass: blocks that fit the first-level cache, rescaled when the maximum grows.
template <Scalar T>
double log_sum_exp(const T* z, Index size) {
  constexpr Index block = 2048;
  T largest = -std::numeric_limits<T>::infinity();
  T shift = 0;
  double sum_exp = 0;
  for (Index begin = 0; begin < size; begin += block) {
    const T* part = z + begin;
    const Index count = std::min(block, size - begin);
    const T highest = maximum(part, count, largest);
    if (highest > largest) {
      const T new_shift = std::isfinite(highest) ? highest : T{0};
      if (sum_exp != 0) sum_exp *= std::exp(static_cast<double>(shift) - static_cast<double>(new_shift));
      shift = new_shift;
      largest = highest;
    }
    sum_exp += static_cast<double>(sum<T>(count, [=](Index i) { return fast_exp(part[i] - shift); }));
  }
  return static_cast<double>(shift) + std::log(sum_exp);
}

}  // namespace detail

template <Scalar T>
double CrossEntropy<T>::forward(const T* logits, const TargetClasses& targets, Index rows, Index classes,
                                const CrossEntropyOptions& options, T* log_sum_exp) {
  const double smoothing = options.label_smoothing;
  const auto range_loss = [=](Index begin, Index end) {
    double loss = 0;
    for (Index row = begin; row < end; ++row) {
      if (targets.first[row] == options.ignore_index) continue;
      const T* z = logits + row * classes;
      const double lse = detail::log_sum_exp(z, classes);
      log_sum_exp[row] = static_cast<T>(lse);
      auto at_target = static_cast<double>(z[targets.first[row]]);
      if (targets.second != nullptr)
        at_target += (1 - targets.share) * (static_cast<double>(z[targets.second[row]]) - at_target);
      loss += lse - (1 - smoothing) * at_target;
      if (smoothing == 0) continue;
      const T sum_z = sum<T>(classes, [=](Index i) { return z[i]; });
      loss -= smoothing * static_cast<double>(sum_z) / static_cast<double>(classes);
    }
    return loss;
  };
  return parallel_sum(rows, range_loss, rows_grain(classes));
}

template <Scalar T>
void CrossEntropy<T>::backward(const T* logits, const TargetClasses& targets, const T* log_sum_exp,
                               Index rows, Index classes, const CrossEntropyOptions& options, T scale,
                               GradientTarget<T> dlogits) {
  const auto at_target = static_cast<T>(1 - options.label_smoothing) * scale;
  const auto everywhere = static_cast<T>(options.label_smoothing / static_cast<double>(classes)) * scale;
  parallel_for(rows, rows_grain(classes), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const GradientTarget<T> dz{dlogits.data + row * classes, dlogits.accumulate};
      if (targets.first[row] == options.ignore_index) {
        if (!dz.accumulate) std::fill_n(dz.data, classes, T{0});
        continue;
      }
      const T* z = logits + row * classes;
      const T lse = log_sum_exp[row];
      write(dz, 0, classes, [=](Index i) { return fast_exp(z[i] - lse) * scale - everywhere; });
      dz.data[targets.first[row]] -= static_cast<T>(targets.share) * at_target;
      if (targets.second != nullptr)
        dz.data[targets.second[row]] -= static_cast<T>(1 - targets.share) * at_target;
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::CrossEntropy);
