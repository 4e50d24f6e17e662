#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/series.hpp>

namespace exfusion::train::report {
namespace {

Points wave(std::size_t count) {
  Points points;
  for (std::size_t i = 0; i < count; ++i) {
    points.push_back({static_cast<double>(i), std::sin(0.01 * static_cast<double>(i))});
  }
  return points;
}

bool contains(const Points& points, double x, double y) {
  return std::ranges::any_of(points, [=](const Point& point) { return point.x == x && point.y == y; });
}

TEST(Downsample, LeavesFewPointsAlone) {
  const Points points = wave(600);
  EXPECT_EQ(downsample(points).size(), 600U);
  EXPECT_TRUE(downsample({}).empty());
}

TEST(Downsample, KeepsSpikesUpAndDown) {
  for (std::size_t count : {601UL, 1234UL, 100'000UL}) {
    Points points = wave(count);
    points[count / 3].y = 50;
    points[count / 2].y = -70;
    const Points kept = downsample(points);
    EXPECT_LE(kept.size(), 600U);
    EXPECT_TRUE(contains(kept, static_cast<double>(count / 3), 50));
    EXPECT_TRUE(contains(kept, static_cast<double>(count / 2), -70));
    EXPECT_TRUE(std::ranges::is_sorted(kept, {}, &Point::x));
  }
}

TEST(Downsample, KeepsGaps) {
  Points points = wave(6000);
  for (std::size_t i = 3000; i < 3200; ++i) points[i].y = unknown;
  points[5000].y = unknown;
  const Points kept = downsample(points);
  EXPECT_LE(kept.size(), 600U);
  const auto gap_between = [&](double low, double high) {
    return std::ranges::any_of(
        kept, [=](const Point& point) { return std::isnan(point.y) && point.x >= low && point.x < high; });
  };
  EXPECT_TRUE(gap_between(3000, 3200));
  EXPECT_TRUE(gap_between(5000, 5001));
  EXPECT_FALSE(gap_between(0, 3000));
}

TEST(Smooth, WeighsNeighboursByTheirDistance) {
  const Points smoothed = smooth({{0, 0}, {1, 0}, {2, 4}, {3, 0}, {4, 0}}, 1);
  ASSERT_EQ(smoothed.size(), 5U);
  EXPECT_EQ(smoothed[0].y, 0);
  EXPECT_EQ(smoothed[1].y, 1);
  EXPECT_EQ(smoothed[2].y, 2);
  EXPECT_EQ(smoothed[3].y, 1);
  EXPECT_EQ(smoothed[2].x, 2);
}

TEST(Smooth, LeavesGapsAndCountsThemForNothing) {
  const Points smoothed = smooth({{0, 3}, {1, unknown}, {2, 5}, {3, 5}}, 2);
  EXPECT_NEAR(smoothed[0].y, (3 * 3 + 5) / 4.0, 1e-12);
  EXPECT_TRUE(std::isnan(smoothed[1].y));
}

TEST(Smooth, GivesAtMostSoManyPoints) {
  EXPECT_EQ(smooth(wave(6000), 10, 600).size(), 600U);
  EXPECT_LE(smooth(wave(6001), 10, 600).size(), 600U);
  EXPECT_TRUE(smooth({}, 3).empty());
}

TEST(PointsOf, TakesAFieldOfEachRow) {
  const std::vector<TrainRow> rows{
      {.step = 5, .loss = 2}, {.step = 10, .loss = unknown}, {.step = 15, .loss = 1e307}};
  const Points points = points_of(rows, &TrainRow::loss);
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[0].x, 5);
  EXPECT_EQ(points[0].y, 2);
  EXPECT_TRUE(std::isnan(points[1].y));
  EXPECT_EQ(points[2].y, 1e200);
  EXPECT_EQ(last_value(points), 1e200);
  EXPECT_TRUE(std::isnan(last_value({{1, unknown}})));
  EXPECT_FALSE(has_values({{1, unknown}}));
}

TEST(Colours, OfAnOrderDifferFromEachOther) {
  EXPECT_EQ(ordered_colour(3, 8), palette(3));
  EXPECT_NE(ordered_colour(0, 24), ordered_colour(1, 24));
  EXPECT_EQ(ordered_colour(0, 24), "rgb(60 120 215)");
  EXPECT_EQ(ordered_colour(23, 24), "rgb(225 120 30)");
}

}  // namespace
}  // namespace exfusion::train::report
