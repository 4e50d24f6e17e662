#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/rng.hpp>

namespace exfusion::data {

/// What a data set draws random numbers for. Each purpose has streams of its own.
enum class RandomPurpose : std::uint8_t { order, phase, augmentation, rendering };

/// A generator that depends on its three arguments alone, so that any epoch (or item) can be drawn again.
inline Rng keyed_rng(std::uint64_t seed, RandomPurpose purpose, Index number) {
  const auto counter =
      (std::uint64_t{static_cast<std::uint8_t>(purpose)} << 56) + static_cast<std::uint64_t>(number);
  return Rng({seed, counter}).split();
}

/// A loader's place in its endless stream of shuffled epochs; enough to continue exactly there.
struct LoaderState {
  std::uint64_t seed = 0;
  Index items = 0;     ///< Items of one epoch: tells whether the state belongs to the same data.
  Index epoch = 0;     ///< Epochs begun before the present one.
  Index position = 0;  ///< Items of the present epoch already handed out.

  bool operator==(const LoaderState&) const = default;
};

/// An endless stream over `items` items, in which every epoch visits each item once in a random order that
/// depends on (seed, epoch) alone. Allocates nothing after construction.
class ShuffledOrder {
 public:
  /// Throws ConfigError when there are no items.
  ShuffledOrder(Index items, std::uint64_t seed) : state_{seed, items, 0, 0} {
    if (items < 1)
      throw ConfigError("loader", "there are ", items, " items to shuffle: at least 1 is needed");
    order_.resize(static_cast<std::size_t>(items));
    shuffle();
  }

  /// The next item, 0 <= item < items; `epoch()` is then the epoch that this item belongs to.
  Index next() {
    if (state_.position == state_.items) {
      ++state_.epoch;
      state_.position = 0;
      shuffle();
    }
    return order_[static_cast<std::size_t>(state_.position++)];
  }

  Index items() const { return state_.items; }
  Index epoch() const { return state_.epoch; }
  /// Epochs passed, in parts: 1.5 in the middle of the second.
  double epochs() const {
    return static_cast<double>(state_.epoch) +
           static_cast<double>(state_.position) / static_cast<double>(state_.items);
  }
  std::uint64_t seed() const { return state_.seed; }
  const LoaderState& state() const { return state_; }

  /// Continues where `state` was taken. Throws ConfigError when it was taken from other data, or is no place
  /// in it.
  void set_state(const LoaderState& state) {
    if (state.items != state_.items) {
      throw ConfigError("loader", "the saved position belongs to epochs of ", state.items,
                        " items, but this data has ", state_.items);
    }
    if (state.epoch < 0 || state.position < 0 || state.position > state.items) {
      throw ConfigError("loader", "epoch ", state.epoch, ", position ", state.position,
                        " is no place in epochs of ", state.items, " items");
    }
    state_ = state;
    shuffle();
  }

 private:
  void shuffle() {  // Fisher and Yates
    Rng rng = keyed_rng(state_.seed, RandomPurpose::order, state_.epoch);
    std::iota(order_.begin(), order_.end(), Index{0});
    for (std::size_t i = order_.size() - 1; i > 0; --i) {
      std::swap(order_[i], order_[static_cast<std::size_t>(rng.below(static_cast<Index>(i) + 1))]);
    }
  }

  LoaderState state_;
  std::vector<Index> order_;
};

}  // namespace exfusion::data
