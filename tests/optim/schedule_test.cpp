#include <array>
#include <cmath>

#include <gtest/gtest.h>

#include <exfusion/optim/schedule.hpp>

namespace exfusion {
namespace {

TEST(Schedule, TheTableInTheDocumentationHolds) {
  const std::array<Index, 9> steps{0, 1, 3, 4, 5, 8, 10, 11, 12};
  const std::array<double, 9> constant{0.25, 0.5, 1, 1, 1, 1, 1, 1, 1};
  const std::array<double, 9> linear{0.25, 0.5, 1, 1, 0.875, 0.5, 0.25, 0.125, 0};
  const std::array<double, 9> cosine{
      0.25, 0.5, 1, 1, 0.96193976625564337, 0.5, 0.14644660940672624, 0.03806023374435663, 0};
  const std::array<double, 9> wsd{0.25, 0.5, 1, 1, 1, 1, 0.5, 0.25, 0};
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Index step = steps[i];
    EXPECT_DOUBLE_EQ(ConstantSchedule({.lr = 1, .warmup = 4}).at(step), constant[i]) << step;
    EXPECT_DOUBLE_EQ(LinearSchedule({.lr = 1, .warmup = 4, .steps = 13}).at(step), linear[i]) << step;
    EXPECT_NEAR(CosineSchedule({.lr = 1, .warmup = 4, .steps = 13}).at(step), cosine[i], 1e-15) << step;
    EXPECT_DOUBLE_EQ(WsdSchedule({.lr = 1, .warmup = 4, .decay = 4, .steps = 13}).at(step), wsd[i]) << step;
  }
}

template <class S>
void expect_exact_corners(const S& schedule, double lr, double min_lr, Index warmup, Index steps) {
  EXPECT_EQ(schedule.at(0), lr * (1.0 / static_cast<double>(warmup)));
  EXPECT_EQ(schedule.at(warmup - 1), lr);
  EXPECT_EQ(schedule.at(warmup), lr);
  EXPECT_LE(schedule.at(steps - 2), lr);
  EXPECT_GT(schedule.at(steps - 2), min_lr);
  EXPECT_EQ(schedule.at(steps - 1), min_lr);
  EXPECT_EQ(schedule.at(steps), min_lr);
  EXPECT_EQ(schedule.at(10 * steps), min_lr);
  for (Index step = warmup; step + 1 < steps; ++step) EXPECT_GE(schedule.at(step), schedule.at(step + 1));
}

TEST(Schedule, CornersAreExactForAwkwardNumbers) {
  const double lr = 3.1e-4, min_lr = 2.9e-5;
  for (Index warmup : {1, 7, 96}) {
    const Index steps = 101;
    const DecayScheduleOptions options{.lr = lr, .min_lr = min_lr, .warmup = warmup, .steps = steps};
    expect_exact_corners(LinearSchedule(options), lr, min_lr, warmup, steps);
    expect_exact_corners(CosineSchedule(options), lr, min_lr, warmup, steps);
    expect_exact_corners(
        WsdSchedule({.lr = lr, .min_lr = min_lr, .warmup = warmup, .decay = 4, .steps = steps}), lr, min_lr,
        warmup, steps);
  }
}

TEST(Schedule, WithoutWarmUpTheFirstStepHasTheFullRate) {
  EXPECT_EQ(ConstantSchedule({.lr = 0.3}).at(0), 0.3);
  EXPECT_EQ(CosineSchedule({.lr = 0.3, .steps = 5}).at(0), 0.3);
  EXPECT_EQ(WsdSchedule({.lr = 0.3, .decay = 2, .steps = 5}).at(2), 0.3);
}

TEST(Schedule, WsdWithoutDecayStaysAtItsRate) { EXPECT_EQ(WsdSchedule({.lr = 0.3, .steps = 5}).at(4), 0.3); }

TEST(Schedule, TheLastOfOneStepIsAtTheLeastRate) {
  EXPECT_EQ(CosineSchedule({.lr = 0.3, .min_lr = 0.1, .steps = 1}).at(0), 0.1);
}

TEST(Schedule, RefusesNegativeAndInconsistentNumbers) {
  EXPECT_THROW(ConstantSchedule({.lr = -1}), ConfigError);
  EXPECT_THROW(ConstantSchedule({.lr = std::nan("")}), ConfigError);
  EXPECT_THROW(ConstantSchedule({.lr = 1, .warmup = -1}), ConfigError);
  EXPECT_THROW(ConstantSchedule({.lr = 1}).at(-1), ConfigError);
  EXPECT_THROW(LinearSchedule({.lr = 1, .min_lr = -1, .steps = 5}), ConfigError);
  EXPECT_THROW(LinearSchedule({.lr = 1, .min_lr = 2, .steps = 5}), ConfigError);
  EXPECT_THROW(CosineSchedule({.lr = 1}), ConfigError);
  EXPECT_THROW(CosineSchedule({.lr = 1, .warmup = 5, .steps = 5}), ConfigError);
  EXPECT_THROW(WsdSchedule({.lr = 1, .warmup = 3, .decay = 2, .steps = 5}), ConfigError);
  EXPECT_THROW(WsdSchedule({.lr = 1, .decay = -2, .steps = 5}), ConfigError);
}

TEST(Schedule, AnErrorNamesTheValueAndTheLimit) {
  try {
    CosineSchedule({.lr = 1, .warmup = 50, .steps = 20});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[cosine_schedule] warmup is 50: it must be less than steps = 20");
  }
}

}  // namespace
}  // namespace exfusion
