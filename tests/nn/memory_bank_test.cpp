#include <limits>

#include <gtest/gtest.h>

#include <exfusion/nn/memory_bank.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

void observe(MemoryBank<double>& bank, double first) {
  bank.observe(Tensor<double>::from({1, 2}, {first, 1 - first}));
}

double first_of(MemoryBank<double>& bank) { return bank.weights().data()[0]; }

TEST(MemoryBank, AveragesWithAWarmUpThatEndsAtBeta) {
  MemoryBank<double> bank(2, {.beta = 0.5});
  EXPECT_EQ(first_of(bank), 0.5);
  double expected = 0.5;
  for (int t = 0; t < 20; ++t) {
    const double a = 0.1 + 0.04 * t;
    observe(bank, a);
    EXPECT_EQ(first_of(bank), expected) << "moved before the step's end";
    bank.end_step();
    const double beta = std::min(0.5, (1.0 + t) / (10.0 + t));
    expected = beta * expected + (1 - beta) * a;
    EXPECT_NEAR(first_of(bank), expected, 1e-15);
    EXPECT_EQ(bank.steps(), t + 1);
  }
  EXPECT_GT((1.0 + 9) / (10.0 + 9), 0.5) << "the warm-up has ended within the test";
}

TEST(MemoryBank, FoldsInTheMeanOfTheStepsMicroBatchesOnce) {
  MemoryBank<double> bank(2, {}), single(2, {});
  for (double a : {0.2, 0.3, 0.7}) observe(bank, a);
  observe(single, 0.4);
  bank.end_step();
  single.end_step();
  EXPECT_NEAR(first_of(bank), first_of(single), 1e-15);
  EXPECT_EQ(bank.steps(), 1);
}

TEST(MemoryBank, StandsStillInStepsThatObservedNothingOrWereSkipped) {
  MemoryBank<double> bank(2, {});
  bank.end_step();
  observe(bank, 0.9);
  bank.skip_step();
  bank.end_step();
  EXPECT_EQ(first_of(bank), 0.5);
  EXPECT_EQ(bank.steps(), 0);
}

TEST(MemoryBank, WindowIsTheMeanOfTheLastSteps) {
  MemoryBank<double> bank(2, {.memory = BankMemory::window, .window = 3});
  EXPECT_EQ(first_of(bank), 0.5);
  const std::vector<double> seen{0.1, 0.5, 0.9, 0.2, 0.3, 0.8, 0.6};
  for (std::size_t step = 0; step < seen.size(); ++step) {
    observe(bank, seen[step]);
    bank.end_step();
    double sum = 0;
    const std::size_t filled = std::min<std::size_t>(3, step + 1);
    for (std::size_t back = 0; back < filled; ++back) sum += seen[step - back];
    EXPECT_NEAR(first_of(bank), sum / static_cast<double>(filled), 1e-15);
  }
}

TEST(MemoryBank, DefaultsAreNinetyNinePercentAndSixtyFourSteps) {
  EXPECT_EQ(MemoryBankOptions{}.memory, BankMemory::moving_average);
  EXPECT_EQ(MemoryBankOptions{}.beta, 0.99);
  EXPECT_EQ(MemoryBankOptions{}.window, 64);
}

TEST(MemoryBank, ValuesHoldAllThatItContinuesFrom) {
  for (BankMemory memory : {BankMemory::moving_average, BankMemory::window}) {
    MemoryBank<double> bank(2, {.memory = memory, .window = 3});
    for (double a : {0.1, 0.2, 0.4, 0.8}) {
      observe(bank, a);
      bank.end_step();
    }
    MemoryBank<double> restored(2, {.memory = memory, .window = 3});
    ASSERT_EQ(restored.values().size(), bank.values().size());
    std::ranges::copy(bank.values(), restored.values().begin());
    for (double a : {0.9, 0.3, 0.5, 0.6}) {
      for (auto* each : {&bank, &restored}) {
        observe(*each, a);
        each->end_step();
      }
      EXPECT_EQ(first_of(bank), first_of(restored));
    }
    EXPECT_EQ(bank.steps(), restored.steps());
  }
}

TEST(MemoryBank, RefusesOptionsOutOfRangeAndWeightsThatAreNotFinite) {
  EXPECT_THROW(MemoryBank<float>(0, {}), ConfigError);
  EXPECT_THROW(MemoryBank<float>(2, {.beta = 1.0}), ConfigError);
  EXPECT_THROW(MemoryBank<float>(2, {.beta = -0.1}), ConfigError);
  EXPECT_THROW(MemoryBank<float>(2, {.beta = std::numeric_limits<double>::quiet_NaN()}), ConfigError);
  EXPECT_THROW(MemoryBank<float>(2, {.window = 0}), ConfigError);
  EXPECT_THROW(MemoryBank<float>(2, {.window = Index{1} << 40}), ConfigError);
  MemoryBank<float> bank(2, {});
  const auto bad = Tensor<float>::from({1, 2}, {0.5F, std::numeric_limits<float>::quiet_NaN()});
  const auto message = testing::message_of<Error>([&] { bank.observe(bad); });
  EXPECT_NE(message.find("weight 1 is nan"), std::string::npos) << message;
  bank.end_step();
  EXPECT_EQ(bank.steps(), 0);
}

}  // namespace
}  // namespace exfusion
