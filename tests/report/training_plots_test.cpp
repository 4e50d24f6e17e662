#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/training_plots.hpp>

#include "report/page_support.hpp"

namespace exfusion::train::report {
namespace {

using testing::shows;

RunMetrics run_of(Index steps) {
  RunMetrics run;
  for (Index step = 1; step <= steps; ++step) {
    run.training.push_back({.step = step, .loss = 2, .items_per_second = 800, .memory_bytes = 300 << 20});
  }
  return run;
}

TEST(SmoothedCurves, LeaveAShortRunAsItIs) {
  const auto curves = smoothed_curves("training", training_loss(run_of(59)), "red");
  ASSERT_EQ(curves.size(), 1U);
  EXPECT_EQ(curves[0].name, "training");
}

TEST(SmoothedCurves, ShowTheMeasuredValuesBehind) {
  const auto curves = smoothed_curves("training", training_loss(run_of(600)), "red");
  ASSERT_EQ(curves.size(), 2U);
  EXPECT_EQ(curves[0].look, Look::faint);
  EXPECT_EQ(curves[0].name, "");
  EXPECT_EQ(curves[1].name, "training, smoothed");
}

TEST(PlotWithDetail, LeavesOutTheFirstFifth) {
  Points points;
  for (int i = 0; i <= 100; ++i) points.push_back({static_cast<double>(i), i < 20 ? 9.0 : 1 + 0.001 * i});
  const std::string plots = plot_with_detail({.title = "Loss"}, {{"a", points, "red"}});
  const std::string detail = plots.substr(plots.find("Loss, without the first fifth"));
  EXPECT_TRUE(shows(plots.substr(0, plots.size() - detail.size()), ">8</span>"));
  EXPECT_TRUE(shows(detail, ">1.08</span>"));
  EXPECT_FALSE(shows(detail, ">8</span>"));
}

TEST(PlotWithDetail, NeedsAFewPointsForTheDetail) {
  EXPECT_FALSE(shows(plot_with_detail({.title = "Loss"}, {{"a", {{0, 2}, {1, 1}}, "red"}}), "fifth"));
  EXPECT_EQ(plot_with_detail({.title = "Loss"}, {}), "");
}

TEST(TrainingPlots, GiveUnitsAndLeaveOutWhatIsUnknown) {
  RunMetrics run = run_of(3);
  run.run.items = "images";
  const std::string plots = training_plots(run);
  EXPECT_TRUE(shows(plots, "<small>images/s</small>"));
  EXPECT_TRUE(shows(plots, "<small>MiB</small>"));
  EXPECT_TRUE(shows(plots, "resident: <b>300</b>"));
  EXPECT_FALSE(shows(plots, "MFU"));
  EXPECT_FALSE(shows(plots, "Learning rate"));
  run.training.back().memory_bytes = Index{5} << 30;
  run.training.back().mfu = 0.425;
  EXPECT_TRUE(shows(training_plots(run), "<small>GiB</small>"));
  EXPECT_TRUE(shows(training_plots(run), "MFU: <b>42.5</b>"));
  EXPECT_EQ(training_plots({}), "");
}

TEST(LossPlots, CountPerItem) {
  RunMetrics run = run_of(3);
  EXPECT_TRUE(shows(loss_plots(run, nullptr), "nats per token"));
  run.run.items = "images";
  EXPECT_TRUE(shows(loss_plots(run, nullptr), "nats per image"));
}

TEST(AccuracyPlot, IsInPercent) {
  RunMetrics run;
  EXPECT_EQ(accuracy_plot(run, nullptr), "");
  run.validation = {{.step = 1, .loss = 2, .accuracy = 0.25}, {.step = 2, .loss = 2, .accuracy = 0.5}};
  EXPECT_TRUE(shows(accuracy_plot(run, nullptr), "validation: <b>50</b>"));
}

}  // namespace
}  // namespace exfusion::train::report
