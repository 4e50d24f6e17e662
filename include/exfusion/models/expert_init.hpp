#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <variant>
#include <vector>

#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>

namespace exfusion {

/// Every expert starts as the dense network: W_i = W_0.
struct Copies {};

/// W_i = W_0 + scale D_i with sum_i a_i D_i = 0, so that the fused network is W_0. The D_i are Gaussian with,
/// on average over the experts, the variance of W_0's elements in the same segment (zero for zero biases).
/// With uniform a and scale = sqrt(E - 1) the experts are, in distribution, independent draws of E times
/// W_0's variance.
struct ZeroSum {
  double scale = 0.5;
};

/// Drop-Upcycling (Nakamura et al., arXiv 2502.19261): each expert draws floor(ratio d_ff) hidden channels
/// and replaces their weights by Gaussians of the replaced weights' mean and standard deviation.
/// `keep_function` then shifts all experts by -sum_i a_i (W_i - W_0), so that the fused network is W_0.
struct Drop {
  double ratio = 0.5;
  bool keep_function = true;
};

/// How experts come from a dense network.
using ExpertInit = std::variant<Copies, ZeroSum, Drop>;

namespace detail {

/// Mean and standard deviation of numbers that are handed over one by one. Counted from the first of them, so
/// that equal numbers deviate by exactly 0.
struct Moments {
  double count = 0, origin = 0, sum = 0, squares = 0;

  void add(double value) {
    if (count++ == 0) origin = value;
    sum += value - origin;
    squares += (value - origin) * (value - origin);
  }
  double mean() const { return count > 0 ? origin + sum / count : 0.0; }
  double std() const {
    return count > 0 ? std::sqrt(std::max(0.0, squares / count - sum / count * (sum / count))) : 0.0;
  }
};

/// The part of a segment that belongs to hidden channels: element k of channel c stands at
/// c * channel_stride + k * stride.
struct HiddenChannels {
  Index channels = 0;
  Index size = 0;
  Index channel_stride = 0;
  Index stride = 0;
};

/// Channels are the rows of gate and up, the columns of down.weight; down.bias has none.
inline HiddenChannels hidden_channels(const SlabSegment& segment) {
  if (segment.name == "down.bias") return {};
  if (segment.name == "down.weight") return {segment.shape[1], segment.shape[0], 1, segment.shape[1]};
  const Index size = segment.shape.size() / segment.shape[0];
  return {segment.shape[0], size, size, 1};
}

/// Shifts and scales the experts' differences from `dense` [P] so that they sum to zero under a [groups, E]:
/// W_i = W_0 + factor (W_i - W_0 - sum_j a_j (W_j - W_0) / sum_j a_j).
template <Scalar T>
void make_zero_sum(const ExpertSlab<T>& slab, std::span<const T> dense, std::span<const T> a,
                   auto&& factor_of_group) {
  const auto experts = static_cast<std::size_t>(slab.experts());
  const auto row = static_cast<std::size_t>(slab.row_size());
  for (const FusionSpan& span : slab.spans()) {
    const auto weights = a.subspan(static_cast<std::size_t>(span.group) * experts, experts);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (total == 0) throw ConfigError("expert_init", "the fusion weights sum to 0: a zero sum needs others");
    const double factor = factor_of_group(weights);
    for (Index j = span.begin; j < span.begin + span.size; ++j) {
      T* element = slab.data() + j;
      const double origin = dense[static_cast<std::size_t>(j)];
      double mean = 0;
      for (std::size_t i = 0; i < experts; ++i) mean += weights[i] * (element[i * row] - origin);
      mean /= total;
      for (std::size_t i = 0; i < experts; ++i) {
        element[i * row] = static_cast<T>(origin + factor * (element[i * row] - origin - mean));
      }
    }
  }
}

template <Scalar T>
void scatter(const ExpertSlab<T>& slab, std::span<const T> dense, std::span<const T>, const Copies&, Rng&) {
  parallel_for(slab.experts(), 1, [&](Index i, Index) { std::ranges::copy(dense, slab.expert(i).begin()); });
}

// For weights of sum 1, draw i minus the draws' weighted mean has variance 1 - 2 a_i + |a|^2: on average over
// the experts 1 - 2 / E + |a|^2, which is 0 for one expert.
template <Scalar T>
void scatter(const ExpertSlab<T>& slab, std::span<const T> dense, std::span<const T> a, const ZeroSum& init,
             Rng& rng) {
  if (!(std::isfinite(init.scale) && init.scale >= 0)) {
    throw ConfigError("zero_sum", "scale is ", init.scale, ": it must be finite and not negative");
  }
  for (Index i = 0; i < slab.experts(); ++i) {
    for (const SlabSegment& segment : slab.segments()) {
      const auto origin = dense.subspan(static_cast<std::size_t>(segment.offset),
                                        static_cast<std::size_t>(segment.shape.size()));
      Moments moments;
      for (T value : origin) moments.add(value);
      const std::span<T> values = slab.expert(i, segment);
      rng.fill_normal(values, 0.0, moments.std());
      for (std::size_t j = 0; j < values.size(); ++j) values[j] += origin[j];
    }
  }
  make_zero_sum<T>(slab, dense, a, [&](std::span<const T> weights) {
    if (weights.size() == 1) return 0.0;
    const double squares = std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0);
    return init.scale / std::sqrt(1 - 2 / static_cast<double>(weights.size()) + squares);
  });
}

/// Draws `count` different channels to the front of `channels`.
inline void draw_channels(std::vector<Index>& channels, Index count, Rng& rng) {
  const auto total = static_cast<Index>(channels.size());
  for (Index i = 0; i < count; ++i) {
    std::swap(channels[static_cast<std::size_t>(i)],
              channels[static_cast<std::size_t>(i + rng.below(total - i))]);
  }
}

/// Replaces the chosen channels by Gaussians of their own mean and standard deviation.
template <Scalar T>
void redraw(std::span<T> values, const HiddenChannels& place, std::span<const Index> chosen, Rng& rng) {
  const auto element = [&](Index channel, Index k) -> T& {
    return values[static_cast<std::size_t>(channel * place.channel_stride + k * place.stride)];
  };
  Moments moments;
  for (Index channel : chosen) {
    for (Index k = 0; k < place.size; ++k) moments.add(element(channel, k));
  }
  const double mean = moments.mean(), std = moments.std();
  for (Index channel : chosen) {
    for (Index k = 0; k < place.size; ++k) element(channel, k) = static_cast<T>(mean + std * rng.normal());
  }
}

template <Scalar T>
void scatter(const ExpertSlab<T>& slab, std::span<const T> dense, std::span<const T> a, const Drop& init,
             Rng& rng) {
  if (!(init.ratio >= 0 && init.ratio <= 1)) {
    throw ConfigError("drop", "ratio is ", init.ratio, ": it must be in [0, 1]");
  }
  scatter(slab, dense, a, Copies{}, rng);
  for (Index i = 0; i < slab.experts(); ++i) {
    std::vector<Index> channels(static_cast<std::size_t>(hidden_channels(slab.segments().front()).channels));
    std::iota(channels.begin(), channels.end(), Index{0});
    constexpr double rounding = 1e-9;  // 0.29 of 100 channels are 29
    const auto count = static_cast<Index>(init.ratio * static_cast<double>(channels.size()) + rounding);
    draw_channels(channels, count, rng);
    for (const SlabSegment& segment : slab.segments()) {
      const HiddenChannels place = hidden_channels(segment);
      if (place.channels == 0) continue;
      redraw(slab.expert(i, segment), place,
             std::span<const Index>(channels).first(static_cast<std::size_t>(count)), rng);
    }
  }
  if (init.keep_function) make_zero_sum<T>(slab, dense, a, [](auto) { return 1.0; });
}

}  // namespace detail

/// Fills a slab, whose segments are named as FeedForward names its parameters, from the dense row [P] (laid
/// out like an expert's) and the initial fusion weights a [groups, E]. Draws in the order of the experts.
/// Throws ConfigError when an option is out of range.
template <Scalar T>
void initialise_experts(const ExpertSlab<T>& slab, std::span<const T> dense, std::span<const T> a,
                        const ExpertInit& init, Rng& rng) {
  std::visit([&](const auto& chosen) { detail::scatter(slab, dense, a, chosen, rng); }, init);
  slab.set_fused(false);
}

}  // namespace exfusion
