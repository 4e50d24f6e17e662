#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/report/summary.hpp>

#include "report/page_support.hpp"

namespace exfusion::train::report {
namespace {

using testing::shows;

TEST(Summary, ThroughputIsTheMiddleOne) {
  RunMetrics run;
  EXPECT_EQ(speed_text(run), "–");
  for (double speed : {10.0, unknown, 24'000.0, 25'000.0, 26'000.0, 1e9}) {
    run.training.push_back({.step = 1, .items_per_second = speed});
  }
  EXPECT_EQ(median_throughput(run), 25'000);
  EXPECT_EQ(speed_text(run), "25.0k tokens/s");
}

TEST(Summary, TheBestEvaluationHasTheSmallestLossThatIsKnown) {
  RunMetrics run;
  EXPECT_EQ(best_validation(run), nullptr);
  run.validation = {{.step = 1, .loss = 2}, {.step = 2, .loss = 1.5}, {.step = 3, .loss = unknown}};
  ASSERT_NE(best_validation(run), nullptr);
  EXPECT_EQ(best_validation(run)->step, 2);
}

TEST(Summary, TheHeaderSaysHowFarTheRunIs) {
  RunMetrics run;
  run.name = "a <b>";
  run.run = {.parameters = 1000, .exported_parameters = 1000, .steps = 4000};
  run.training.push_back({.step = 1000, .epoch = 2.5, .seconds = 3725, .memory_bytes = 512 << 20});
  const std::string text = header(run);
  for (const char* part : {"a &lt;b&gt;", "step 1,000 of 4,000 (25\xC2\xA0%)", "value=\"0.25\"", ">running<",
                           "1:02:05", "2.50", "512 MiB", "Parameters: 1,000 trained</p>"}) {
    EXPECT_TRUE(shows(text, part)) << part;
  }
  EXPECT_FALSE(shows(text, "bad steps"));
}

TEST(Summary, ResultsGivePerplexityOrAccuracy) {
  RunMetrics run;
  EXPECT_EQ(results_table(run, nullptr), "");
  run.result = ResultRow{.step = 1, .loss = 2, .accuracy = 0.5};
  EXPECT_TRUE(shows(results_table(run, nullptr), "<td>2.0000</td><td>7.389</td>"));
  EXPECT_FALSE(shows(results_table(run, nullptr), "after collapse"));
  run.run.items = "images";
  EXPECT_TRUE(shows(results_table(run, nullptr), "<td>2.0000</td><td>50.00\xC2\xA0%</td>"));
}

TEST(Summary, OfManyEventsTheLastAreShown) {
  RunMetrics run;
  EXPECT_EQ(events_table(run), "");
  for (Index step = 1; step <= 250; ++step) run.events.push_back({.step = step, .text = "event"});
  const std::string text = events_table(run);
  EXPECT_TRUE(shows(text, "The last 200 of 250"));
  EXPECT_FALSE(shows(text, ">50</th>"));
  EXPECT_TRUE(shows(text, ">51</th>"));
  EXPECT_TRUE(shows(text, ">250</th>"));
}

}  // namespace
}  // namespace exfusion::train::report
