#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/axis.hpp>

namespace exfusion::train::report {
namespace {

using Labels = std::vector<std::string>;

TEST(LinearAxis, BearsRoundNumbersWithTheSameDecimals) {
  EXPECT_EQ(linear_axis(0, 1, 5).labels, (Labels{"0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(linear_axis(1.31, 1.52, 5).labels, (Labels{"1.35", "1.40", "1.45", "1.50"}));
  EXPECT_EQ(linear_axis(-3, 7, 5).labels, (Labels{"-2", "0", "2", "4", "6"}));
}

TEST(LinearAxis, ShortensLargeAndSmallNumbers) {
  EXPECT_EQ(linear_axis(0, 5000, 5).labels, (Labels{"0", "1000", "2000", "3000", "4000", "5000"}));
  EXPECT_EQ(linear_axis(0, 25000, 5).labels, (Labels{"0", "5k", "10k", "15k", "20k", "25k"}));
  EXPECT_EQ(linear_axis(0, 1.5e6, 3).labels, (Labels{"0", "0.5M", "1.0M", "1.5M"}));
  EXPECT_EQ(linear_axis(0, 3e-4, 3).labels, (Labels{"0", "1e-4", "2e-4", "3e-4"}));
  EXPECT_EQ(linear_axis(0, 1e13, 2).labels, (Labels{"0", "0.5e13", "1.0e13"}));
}

TEST(LinearAxis, CountsStepsInWholeNumbers) {
  EXPECT_EQ(linear_axis(0, 2, 6, 1).labels, (Labels{"0", "1", "2"}));
}

TEST(LinearAxis, WidensARangeOfOneValue) {
  for (double value : {0.0, 7.0, -1e-9, 1e200}) {
    const Axis axis = linear_axis(value, value, 5);
    EXPECT_NEAR(axis.place(value), 0.5, 1e-6);
    EXPECT_FALSE(axis.ticks.empty());
    EXPECT_LE(axis.ticks.size(), 6U);
  }
}

TEST(LinearAxis, PlacesValuesInProportion) {
  const Axis axis = linear_axis(2, 10, 5);
  EXPECT_EQ(axis.place(2), 0);
  EXPECT_EQ(axis.place(4), 0.25);
  EXPECT_EQ(axis.place(10), 1);
}

TEST(LogAxis, BearsPowersOfTen) {
  EXPECT_EQ(log_axis(0.002, 30).labels, (Labels{"0.01", "0.1", "1", "10"}));
  EXPECT_EQ(log_axis(1e-6, 1e-2).labels, (Labels{"1e-6", "1e-5", "1e-4", "1e-3", "0.01"}));
  EXPECT_EQ(log_axis(0.2, 12).labels, (Labels{"0.2", "0.5", "1", "2", "5", "10"}));
}

TEST(LogAxis, ThinsOutManyDecades) {
  const Axis axis = log_axis(1e-200, 1e200);
  EXPECT_GE(axis.ticks.size(), 3U);
  EXPECT_LE(axis.ticks.size(), 8U);
}

TEST(LogAxis, PlacesRatiosAlike) {
  const Axis axis = log_axis(0.01, 100);
  EXPECT_NEAR(axis.place(1), 0.5, 1e-12);
  EXPECT_NEAR(axis.place(10) - axis.place(1), axis.place(1) - axis.place(0.1), 1e-12);
}

}  // namespace
}  // namespace exfusion::train::report
