#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/kernels/fast_math.hpp>

namespace exfusion::kernels {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

struct Worst {
  double error = 0;
  float place = 0;
};

// The largest error of `fast` over a dense grid: every 509th of all finite floats, which is 16,000 in each
// binade. Relative, except that `floor` bounds what an error is divided by from below.
template <class Fast, class Exact>
Worst worst_error(const Fast& fast, const Exact& exact, double floor, float lowest, float highest) {
  Worst worst;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFU; bits += 509) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (!(x >= lowest && x <= highest)) continue;
    const double expected = exact(static_cast<double>(x));
    const double error =
        std::abs(static_cast<double>(fast(x)) - expected) / std::max(std::abs(expected), floor);
    if (!(error <= worst.error)) worst = {error, x};
  }
  return worst;
}

constexpr float largest = std::numeric_limits<float>::max();
constexpr double smallest = static_cast<double>(std::numeric_limits<float>::min());

TEST(FastMath, ExpIsAccurateWhereItsResultIsANormalNumber) {
  const auto worst = worst_error([](float x) { return fast_exp(x); }, [](double x) { return std::exp(x); },
                                 smallest, -largest, 88.72F);
  EXPECT_LE(worst.error, 3e-7) << "at " << worst.place;
}

TEST(FastMath, TanhIsAccurate) {
  const auto worst = worst_error([](float x) { return fast_tanh(x); }, [](double x) { return std::tanh(x); },
                                 smallest, -largest, largest);
  EXPECT_LE(worst.error, 5e-7) << "at " << worst.place;
}

TEST(FastMath, ErfIsAccurate) {
  const auto worst = worst_error([](float x) { return fast_erf(x); }, [](double x) { return std::erf(x); },
                                 smallest, -largest, largest);
  EXPECT_LE(worst.error, 5e-7) << "at " << worst.place;
}

TEST(FastMath, SquareRootIsAccurateForNormalNumbers) {
  const auto worst = worst_error([](float x) { return fast_sqrt(x); }, [](double x) { return std::sqrt(x); },
                                 smallest, static_cast<float>(smallest), largest);
  EXPECT_LE(worst.error, 2e-7) << "at " << worst.place;
  EXPECT_EQ(fast_sqrt(0.0F), 0.0F);
  EXPECT_EQ(fast_sqrt(infinity), infinity);
  EXPECT_TRUE(std::isnan(fast_sqrt(not_a_number)));
  EXPECT_NEAR(fast_sqrt(1e-42F), 1e-21F, 1e-21F);
  EXPECT_EQ(fast_sqrt(2.0), std::sqrt(2.0));
}

TEST(FastMath, SigmoidIsAccurateWhereItsResultIsANormalNumber) {
  const auto fast = [](float x) { return fast_sigmoid(x); };
  const auto exact = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto worst = worst_error(fast, exact, smallest, -87.0F, largest);
  EXPECT_LE(worst.error, 5e-7) << "at " << worst.place;
  EXPECT_LE(worst_error(fast, exact, 1e-30, -largest, -87.0F).error, 1e-7);
}

TEST(FastMath, HandlesInfinitiesAndNotANumber) {
  EXPECT_EQ(fast_exp(infinity), infinity);
  EXPECT_EQ(fast_exp(89.0F), infinity);
  EXPECT_EQ(fast_exp(-infinity), 0.0F);
  EXPECT_EQ(fast_exp(-104.0F), 0.0F);
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
  EXPECT_NEAR(fast_tanh(infinity), 1.0F, 2e-7F);
  EXPECT_NEAR(fast_tanh(-infinity), -1.0F, 2e-7F);
  EXPECT_NEAR(fast_erf(infinity), 1.0F, 5e-7F);
  EXPECT_NEAR(fast_erf(-infinity), -1.0F, 5e-7F);
  EXPECT_EQ(fast_sigmoid(infinity), 1.0F);
  EXPECT_EQ(fast_sigmoid(-infinity), 0.0F);
  EXPECT_EQ(fast_tanh(0.0F), 0.0F);
  EXPECT_EQ(fast_erf(0.0F), 0.0F);
  for (float x : {not_a_number, -not_a_number}) {
    EXPECT_TRUE(std::isnan(fast_exp(x)));
    EXPECT_TRUE(std::isnan(fast_tanh(x)));
    EXPECT_TRUE(std::isnan(fast_erf(x)));
    EXPECT_TRUE(std::isnan(fast_sigmoid(x)));
  }
}

TEST(FastMath, ExpUnderflowsGradually) {
  EXPECT_GT(fast_exp(-100.0F), 0.0F);
  EXPECT_NEAR(static_cast<double>(fast_exp(-100.0F)), std::exp(-100.0), 2e-45);
}

TEST(FastMath, IsTheStandardLibraryInDouble) {
  for (double x : {-30.0, -1.0, 0.0, 0.3, 5.0}) {
    EXPECT_EQ(fast_exp(x), std::exp(x));
    EXPECT_EQ(fast_tanh(x), std::tanh(x));
    EXPECT_EQ(fast_erf(x), std::erf(x));
  }
}

}  // namespace
}  // namespace exfusion::kernels
