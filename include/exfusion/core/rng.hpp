#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>

#include <exfusion/core/error.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion {

/// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
/// 3", SC 2011). The whole state is a key and a counter, so it is saved and restored exactly, and a parallel
/// loop that reserves a range of counters draws the same numbers for any number of threads.
class Rng {
 public:
  struct State {
    std::uint64_t key = 0;
    std::uint64_t counter = 0;
    bool operator==(const State&) const = default;
  };

  using Block = std::array<std::uint32_t, 4>;

  explicit Rng(std::uint64_t seed = 0) : state_{seed, 0} {}
  explicit Rng(State state) : state_(state) {}

  /// A generator whose `fill_normal` leaves all as it is: for models whose weights come from elsewhere.
  static Rng silent() {
    Rng rng;
    rng.is_silent_ = true;
    return rng;
  }

  State state() const { return state_; }
  void set_state(State state) { state_ = state; }

  /// A generator of its own, seeded from this one (which moves on by one draw).
  Rng split() { return Rng(bits64()); }

  /// 32 or 64 random bits.
  std::uint32_t bits() { return next()[0]; }
  std::uint64_t bits64() {
    const Block block = next();
    return (std::uint64_t{block[1]} << 32) | block[0];
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(bits64() >> 11) * 0x1p-53; }

  /// Uniform integer in [0, bound). Throws ConfigError when `bound` is not positive.
  Index below(Index bound) {
    if (bound <= 0) throw ConfigError("rng", "below(", bound, "): the bound must be positive");
    const auto range = static_cast<std::uint64_t>(bound);
    const std::uint64_t limit = (~std::uint64_t{0} / range) * range;  // rejection keeps it unbiased
    std::uint64_t draw = bits64();
    while (draw >= limit) draw = bits64();
    return static_cast<Index>(draw % range);
  }

  /// Standard normal (Box and Muller).
  double normal() { return normal_pair(next())[0]; }

  /// Fills `values` with N(mean, std^2), in parallel: the same numbers for any number of threads.
  template <Scalar T>
  void fill_normal(std::span<T> values, double mean, double std) {
    if (is_silent_) return;
    constexpr Index grain = 4096;
    const auto pairs = static_cast<Index>((values.size() + 1) / 2);
    const State first = reserve(pairs);
    parallel_for(pairs, grain, [&](Index begin, Index end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        const auto pair = normal_pair(at({first.key, first.counter + i}));
        values[2 * i] = static_cast<T>(mean + std * pair[0]);
        if (2 * i + 1 < values.size()) values[2 * i + 1] = static_cast<T>(mean + std * pair[1]);
      }
    });
  }

  /// Sets `blocks` counters aside for a parallel loop: block i of the range is `at({key, counter + i})`.
  State reserve(Index blocks) {
    const State first = state_;
    state_.counter += static_cast<std::uint64_t>(blocks);
    return first;
  }

  /// The four random words at one state; a pure function.
  static constexpr Block at(State state) {
    return philox(
        {static_cast<std::uint32_t>(state.counter), static_cast<std::uint32_t>(state.counter >> 32), 0, 0},
        static_cast<std::uint32_t>(state.key), static_cast<std::uint32_t>(state.key >> 32));
  }

  /// Philox 4x32-10 itself: the counter `x` encrypted with the key.
  static constexpr Block philox(Block x, std::uint32_t key0, std::uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * x[0];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * x[2];
      x = {static_cast<std::uint32_t>(product1 >> 32) ^ x[1] ^ key0, static_cast<std::uint32_t>(product1),
           static_cast<std::uint32_t>(product0 >> 32) ^ x[3] ^ key1, static_cast<std::uint32_t>(product0)};
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
    return x;
  }

 private:
  Block next() { return at(reserve(1)); }

  static std::array<double, 2> normal_pair(const Block& block) {
    const auto uniform = [](std::uint32_t high, std::uint32_t low) {
      return (static_cast<double>(((std::uint64_t{high} << 32) | low) >> 11) + 0.5) * 0x1p-53;
    };
    const double radius = std::sqrt(-2.0 * std::log(uniform(block[0], block[1])));
    const double angle = 2.0 * std::numbers::pi * uniform(block[2], block[3]);
    return {radius * std::cos(angle), radius * std::sin(angle)};
  }

  State state_;
  bool is_silent_ = false;
};

}  // namespace exfusion
