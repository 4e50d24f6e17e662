#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/report/comparison.hpp>

#include "report/page_support.hpp"
#include "report/run_support.hpp"

namespace exfusion::train {
namespace {

using testing::shows;

TEST(Settings, AreReadWithTheirSections) {
  const report::Configuration expected{{"lr", "0.001"},
                                       {"name", "\"a # b\""},
                                       {"other", "'it''s'"},
                                       {"model.layers", "6"},
                                       {"quoted", "\"\\\"#\""}};
  EXPECT_EQ(report::settings(
                "# all\nlr = 0.001  # fast\nname=\"a # b\"\r\n\nother = 'it''s'\nquoted = \"\\\"#\" # x\n"
                "[ model ]\n  layers = 6"),
            expected);
  EXPECT_TRUE(report::settings("").empty());
}

RunMetrics run_with(const std::string& name, const std::string& configuration) {
  RunMetrics run;
  run.name = name;
  run.configuration = configuration;
  return run;
}

TEST(DifferencesTable, ListsOnlyTheSettingsThatDiffer) {
  const std::string table = report::differences_table(
      {run_with("a", "lr = 1\nseed = 1\nexperts = 4\n"), run_with("b", "lr = 2\nseed = 1\n")});
  EXPECT_TRUE(shows(table, "<th scope=\"row\">lr</th><td>1</td><td>2</td>"));
  EXPECT_TRUE(shows(table, "<th scope=\"row\">experts</th><td>4</td><td>–</td>"));
  EXPECT_FALSE(shows(table, "seed"));
  EXPECT_EQ(report::differences_table({run_with("a", "lr = 1"), run_with("b", "lr = 1 # same")}), "");
}

TEST(OverHours, PutsTheTrainingTimeInPlaceOfTheStep) {
  const std::vector<TrainRow> training{{.step = 10, .seconds = 1800}, {.step = 20, .seconds = 3600}};
  const report::Points points = report::over_hours({{5, 1}, {10, 2}, {19, 3}, {25, 4}}, training);
  ASSERT_EQ(points.size(), 3U) << "before the first training row no time is known";
  EXPECT_EQ(points[0].x, 0.5);
  EXPECT_EQ(points[0].y, 2);
  EXPECT_EQ(points[1].x, 0.5);
  EXPECT_EQ(points[2].x, 1);
}

TEST(WriteComparison, ShowsTheRunsBesideEachOther) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"fused", "dense"}) {
    std::filesystem::create_directory(folder / name);
    testing::write_whole_run(folder / name, "tokens");
  }
  folder.file("fused/config.toml", "ffn = \"exfusion\"\nsteps = 100\nnote = '" + testing::hostile + "'");
  folder.file("dense/config.toml", "ffn = \"dense\"\nsteps = 100\n");
  write_comparison({folder / "fused", folder / "dense"}, folder / "comparison.html");
  const std::string text = read_file(folder / "comparison.html");
  EXPECT_EQ(testing::WellFormedness(text).error(), "");
  EXPECT_FALSE(shows(text, "<script"));
  for (const char* part : {"Comparison of 2 runs", "after collapse", "1.2500", "100 / 100", "1.00k tokens/s",
                           "1:00:00", "1,234,567", "Validation loss against time", "Training loss, smoothed",
                           "&quot;exfusion&quot;", "&quot;dense&quot;"}) {
    EXPECT_TRUE(shows(text, part)) << part;
  }
  EXPECT_FALSE(shows(text, ">steps</th><td>100"));
  for (const char* outside : {"http://", "https://"}) EXPECT_FALSE(shows(text, outside));
}

TEST(WriteComparison, LeavesOutColumnsThatNoRunFills) {
  const testing::TemporaryFolder folder;
  MetricsWriter(folder.path(), MetricsWriter::fresh)
      .write(TrainRow{.step = 1, .loss = 2, .items_per_second = 5});
  write_comparison({folder.path()}, folder / "page.html");
  const std::string text = read_file(folder / "page.html");
  EXPECT_FALSE(shows(text, "accuracy"));
  EXPECT_FALSE(shows(text, "after collapse"));
  EXPECT_TRUE(shows(text, "throughput"));
}

TEST(WriteComparison, TellsRunsOfOneNameApartByTheirPaths) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"a", "b"}) {
    std::filesystem::create_directories(folder / name / "run");
    MetricsWriter(folder / name / "run", MetricsWriter::fresh).write(TrainRow{.step = 1, .loss = 2});
  }
  write_comparison({folder / "a" / "run", folder / "b" / "run"}, folder / "page.html");
  EXPECT_TRUE(shows(read_file(folder / "page.html"), (folder / "b" / "run").string() + ": "));
}

TEST(WriteComparison, NeedsRunsThatCanBeRead) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW(write_comparison({}, folder / "page.html"), ConfigError);
  EXPECT_THROW(write_comparison({folder / "none"}, folder / "page.html"), IoError);
  EXPECT_FALSE(std::filesystem::exists(folder / "page.html"));
}

}  // namespace
}  // namespace exfusion::train
