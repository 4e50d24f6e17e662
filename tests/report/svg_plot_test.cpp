#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/svg_plot.hpp>

#include "report/page_support.hpp"

namespace exfusion::train::report {
namespace {

using testing::count;

const Plane unit_plane{{.low = 0, .high = 4}, {.low = 0, .high = 1}};

TEST(PathData, BreaksAtGapsAndMakesADotOfALonePoint) {
  EXPECT_EQ(path_data(unit_plane, {{0, 0}, {1, 1}, {2, unknown}, {3, 0.5}, {4, unknown}}),
            "M0 1000L250 0M750 500h0");
  EXPECT_EQ(path_data(unit_plane, {}), "");
}

TEST(PathData, PutsWhatLiesOutsideAtTheEdge) {
  EXPECT_EQ(path_data(unit_plane, {{0, -5}, {4, 9}}), "M0 1000L1000 0");
}

TEST(PathData, LeavesOutWhatALogarithmHasNoPlaceFor) {
  const Plane plane{{.low = 0, .high = 4}, {.low = 0.01, .high = 100, .logarithmic = true}};
  EXPECT_EQ(path_data(plane, {{0, 1}, {1, 100}, {2, 0}, {4, 0.01}}), "M0 500L250 0M1000 1000h0");
}

TEST(VerticalAxis, IsLogarithmicWhereValuesSpanDecades) {
  const std::vector<Series> wide{{"a", {{0, 0.1}, {1, 50}}, "red"}};
  EXPECT_TRUE(vertical_axis({.title = ""}, wide).logarithmic);
  EXPECT_FALSE(vertical_axis({.title = "", .scale = Scale::linear}, wide).logarithmic);
  EXPECT_FALSE(vertical_axis({.title = ""}, {{"a", {{0, 1}, {1, 5}}, "red"}}).logarithmic);
  EXPECT_FALSE(vertical_axis({.title = ""}, {{"a", {{0, 0}, {1, 500}}, "red"}}).logarithmic);
  EXPECT_EQ(vertical_axis({.title = "", .scale = Scale::from_zero}, {{"a", {{0, 4}, {1, 5}}, "red"}}).low, 0);
}

TEST(VerticalAxis, CutsOutliersOnlyWhereAskedTo) {
  Points points;
  for (int i = 0; i < 1000; ++i) points.push_back({static_cast<double>(i), 1.0 + i % 2});
  points[500].y = 1000;
  EXPECT_GE(vertical_axis({.title = ""}, {{"a", points, "red"}}).high, 1000);
  EXPECT_LT(vertical_axis({.title = "", .cut_outliers = true}, {{"a", points, "red"}}).high, 3);
}

TEST(LinePlot, IsWellFormedAndDrawsEachCurve) {
  const std::string plot = line_plot({.title = "Loss <1>", .unit = "nats & more"},
                                     {{"a \"b\"", {{0, 1}, {10, 2}, {20, unknown}, {30, 1.5}}, palette(0)},
                                      {"", {{0, 1}, {30, 2}}, palette(0), Look::faint},
                                      {"c", {{0, 2}, {30, 1}}, palette(1), Look::dashed},
                                      {"d", {{0, 2}, {30, 1}}, palette(2), Look::marked}});
  EXPECT_EQ(testing::WellFormedness(plot).error(), "");
  EXPECT_EQ(count(plot, "<path class=\"line"), 4U);
  EXPECT_EQ(count(plot, "<path class=\"dots\""), 1U);
  EXPECT_EQ(count(plot, "<li>"), 3U) << "only what has a name is in the legend";
  EXPECT_NE(plot.find("a &quot;b&quot;: <b>1.5</b>"), std::string::npos);
  EXPECT_NE(plot.find("Loss &lt;1&gt; <small>nats &amp; more</small>"), std::string::npos);
}

TEST(LinePlot, TellsTheLatestValuesWhereThePointerRests) {
  const std::string plot = line_plot({.title = "Loss"}, {{"a", {{0, 1}, {50, 2}, {100, 3}}, "red"}});
  EXPECT_NE(plot.find("<title>step 48\na: 1</title>"), std::string::npos);
  EXPECT_NE(plot.find("<title>step 50\na: 2</title>"), std::string::npos);
  EXPECT_NE(plot.find("<title>step 100\na: 3</title>"), std::string::npos);
}

TEST(LinePlot, NamesOnlyTheEndsOfALongOrder) {
  std::vector<Series> layers;
  for (int i = 0; i < 12; ++i) layers.push_back({"layer " + std::to_string(i), {{0, 1}, {1, 2}}, "red"});
  EXPECT_EQ(count(line_plot({.title = ""}, layers), "<li>"), 12U);
  const std::string plot = line_plot({.title = "", .short_legend = true}, layers);
  EXPECT_EQ(count(plot, "<li>"), 3U);
  EXPECT_NE(plot.find("layer 11: "), std::string::npos);
}

TEST(LinePlot, OfNothingIsNothing) {
  EXPECT_EQ(line_plot({.title = "Loss"}, {}), "");
  EXPECT_EQ(line_plot({.title = "Loss"}, {{"a", {{0, unknown}}, "red"}, {"b", {}, "red"}}), "");
}

TEST(LinePlot, ShowsASinglePointAsADot) {
  const std::string plot = line_plot({.title = "Loss"}, {{"a", {{10, 4.5}}, "red"}});
  EXPECT_EQ(count(plot, "<path class=\"dots\""), 1U);
  EXPECT_EQ(testing::WellFormedness(plot).error(), "");
}

TEST(LinePlot, KeepsASpikeOfALongRun) {
  Points points;
  for (int i = 0; i < 100'000; ++i) points.push_back({static_cast<double>(i), 1.0});
  points[70'001].y = 2;
  const std::string plot = line_plot({.title = "Loss"}, {{"a", points, "red"}});
  const Axis axis = vertical_axis({.title = ""}, {{"a", points, "red"}});
  const Plane plane{linear_axis(0, 99'999, 6, 1), axis};
  EXPECT_NE(plot.find(plane.point({70'001, 2})), std::string::npos);
  EXPECT_LT(plot.size(), 30'000U);
}

}  // namespace
}  // namespace exfusion::train::report
