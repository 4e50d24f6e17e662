#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>

namespace exfusion {
namespace {

// "philox4x32 10" of tests/kat_vectors in the Random123 distribution.
TEST(Rng, MatchesTheKnownAnswersOfRandom123) {
  EXPECT_EQ(Rng::philox({0, 0, 0, 0}, 0, 0), (Rng::Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Rng::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffff, 0xffffffff),
            (Rng::Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Rng::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
            (Rng::Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, PutsCounterAndKeyIntoTheLowWords) {
  EXPECT_EQ(Rng::at({0x299f31d0a4093822, 0x85a308d3243f6a88}),
            Rng::philox({0x243f6a88, 0x85a308d3, 0, 0}, 0xa4093822, 0x299f31d0));
}

TEST(Rng, ContinuesExactlyFromASavedState) {
  Rng rng(42);
  std::array<double, 3> ignored{};
  rng.fill_normal(std::span<double>(ignored), 0, 1);  // an odd number: nothing may be left over
  rng.normal();
  const Rng::State saved = rng.state();
  const auto draw = [](Rng& from) {
    std::vector<double> values{from.uniform(), from.normal(), static_cast<double>(from.below(1000)),
                               static_cast<double>(from.bits()), from.split().uniform()};
    return values;
  };
  const auto expected = draw(rng);
  Rng restored(saved);
  EXPECT_EQ(draw(restored), expected);
  EXPECT_EQ(restored.state(), rng.state());
  rng.set_state(saved);
  EXPECT_EQ(draw(rng), expected);
}

TEST(Rng, ReservesCountersThatNothingElseDraws) {
  Rng rng(7), other(7);
  const Rng::State first = rng.reserve(3);
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(Rng::at({first.key, first.counter + i})[0], other.bits());
  EXPECT_EQ(rng.bits(), other.bits());
}

TEST(Rng, DrawsUniformlyFromZeroToOne) {
  Rng rng(1);
  constexpr int draws = 200000, cells = 20;
  std::array<int, cells> count{};
  for (int i = 0; i < draws; ++i) {
    const double value = rng.uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    ++count[static_cast<std::size_t>(value * cells)];
  }
  double chi_squared = 0;
  for (int cell : count) chi_squared += std::pow(cell - draws / cells, 2) / (draws / cells);
  EXPECT_LT(chi_squared, 43.8);  // 99.9 % of a chi-squared distribution with 19 degrees of freedom
}

TEST(Rng, DrawsIntegersBelowABoundUniformly) {
  Rng rng(2);
  constexpr int draws = 70000;
  std::array<int, 7> count{};
  for (int i = 0; i < draws; ++i) ++count.at(static_cast<std::size_t>(rng.below(7)));
  double chi_squared = 0;
  for (int cell : count) chi_squared += std::pow(cell - draws / 7, 2) / (draws / 7.0);
  EXPECT_LT(chi_squared, 22.5);  // 99.9 %, 6 degrees of freedom
  EXPECT_EQ(rng.below(1), 0);
  EXPECT_THROW(rng.below(0), ConfigError);
  EXPECT_THROW(rng.below(-3), ConfigError);
}

TEST(Rng, DrawsNormalNumbersOfTheRequestedMoments) {
  Rng rng(3);
  std::vector<double> values(200001);
  rng.fill_normal(std::span<double>(values), 2.0, 3.0);
  double mean = 0, variance = 0, fourth = 0;
  const auto n = static_cast<double>(values.size());
  for (double value : values) mean += value / n;
  for (double value : values) variance += std::pow(value - mean, 2) / n;
  for (double value : values) fourth += std::pow((value - mean) / 3, 4) / n;
  EXPECT_NEAR(mean, 2.0, 5 * 3 / std::sqrt(n));
  EXPECT_NEAR(variance, 9.0, 5 * 9 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth, 3.0, 5 * std::sqrt(96 / n));
}

TEST(Rng, FillsLongRangesAsItFillsThemPairByPair) {
  for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{20001}}) {
    Rng rng(4), by_pairs(4);
    std::vector<double> values(size, 7.0);
    rng.fill_normal(std::span<double>(values), 0.0, 1.0);
    for (std::size_t i = 0; i < size; i += 2) {
      std::vector<double> pair(std::min<std::size_t>(2, size - i));
      by_pairs.fill_normal(std::span<double>(pair), 0.0, 1.0);
      for (std::size_t j = 0; j < pair.size(); ++j) ASSERT_EQ(values[i + j], pair[j]) << i + j;
    }
    EXPECT_EQ(rng.state(), by_pairs.state());
  }
}

TEST(Rng, GivesDifferentStreamsForDifferentSeedsAndSplits) {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t seed = 0; seed < 100; ++seed) firsts.insert(Rng(seed).bits64());
  Rng rng(0);
  for (int i = 0; i < 100; ++i) firsts.insert(rng.split().bits64());
  EXPECT_EQ(firsts.size(), 200U);
}

TEST(Rng, ASilentOneLeavesAllAsItIs) {
  Rng rng = Rng::silent();
  std::vector<float> values{1, 2, 3};
  rng.fill_normal(std::span<float>(values), 0.0, 1.0);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace exfusion
