#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/fusion_plots.hpp>

#include "report/page_support.hpp"

namespace exfusion::train::report {
namespace {

using testing::shows;

FusionDiagnostics layer_of(const std::string& name, Index groups, const std::vector<double>& weights) {
  FusionDiagnostics layer;
  layer.name = name;
  layer.groups = groups;
  layer.weights = weights;
  layer.spread = {0.25, 0.75};
  layer.entropy = 0.5;
  layer.movement = 0.001;
  return layer;
}

TEST(MeanWeight, IsTheMeanOverTheGroups) {
  const FusionDiagnostics layer = layer_of("a", 2, {0.25, 0.75, 0.5, 0.5});
  EXPECT_EQ(mean_weight(layer, 0), 0.375);
  EXPECT_EQ(mean_weight(layer, 1), 0.625);
  EXPECT_TRUE(std::isnan(mean_weight(layer, 2)));
}

TEST(LayerPoints, HaveAGapWhereTheLayerWasNotMeasured) {
  const std::vector<FusionRow> rows{{.step = 1, .layers = {layer_of("a", 1, {1, 0})}},
                                    {.step = 2, .layers = {layer_of("b", 1, {1, 0})}}};
  EXPECT_EQ(layer_names(rows), (std::vector<std::string>{"a", "b"}));
  const Points points = layer_points(rows, "a", mean_spread);
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[0].y, 0.5);
  EXPECT_TRUE(std::isnan(points[1].y));
}

TEST(FusionPlots, ShowEachLayerOnTheSameScale) {
  RunMetrics run;
  run.fusion = {{.step = 1, .layers = {layer_of("low", 1, {0.5, 0.5}), layer_of("high", 1, {0.5, 0.5})}},
                {.step = 2, .layers = {layer_of("low", 1, {0.5, 0.5}), layer_of("high", 1, {0.0, 1.0})}}};
  const std::string plots = fusion_plots(run);
  EXPECT_EQ(testing::WellFormedness(plots).error(), "");
  EXPECT_TRUE(shows(plots, "uniform: 0.6931"));
  const std::string low = weight_plots(run);
  EXPECT_TRUE(shows(low.substr(0, low.find("<figcaption>high")), ">1.0</span>"));
  EXPECT_FALSE(shows(plots, "mean over the groups"));
}

TEST(FusionPlots, OfAModelWithoutExpertsAreNothing) { EXPECT_EQ(fusion_plots({}), ""); }

}  // namespace
}  // namespace exfusion::train::report
