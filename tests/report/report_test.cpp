#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/report/report.hpp>

#include "report/page_support.hpp"
#include "report/run_support.hpp"

namespace exfusion::train {
namespace {

using testing::count;
using testing::shows;

class WriteReport : public ::testing::Test {
 protected:
  std::string page() const { return read_file(folder / "report.html"); }

  testing::TemporaryFolder folder;
};

TEST_F(WriteReport, IsWellFormedWhateverTheRunsTextsSay) {
  testing::write_whole_run(folder.path(), "images");
  folder.file("config.toml", "name = " + testing::hostile);
  write_report(folder.path());
  const std::string text = page();
  const testing::WellFormedness form(text);
  EXPECT_EQ(form.error(), "");
  EXPECT_EQ(form.count("script"), 0);
  EXPECT_FALSE(shows(text, "<script"));
  EXPECT_GE(count(text, "&lt;script&gt;alert(&quot;it&#39;s&quot;)&lt;/script&gt; &amp; &lt;/pre&gt;"), 8U);
}

TEST_F(WriteReport, RefersToNothingOutsideItself) {
  testing::write_whole_run(folder.path(), "images");
  write_report(folder.path());
  const std::string text = page();
  for (const char* outside : {"http://", "https://", "//cdn", "url(", "@import", "<iframe", "<object"}) {
    EXPECT_FALSE(shows(text, outside)) << outside;
  }
  EXPECT_EQ(count(text, "src=\""), count(text, "src=\"data:"));
  EXPECT_EQ(count(text, "href=\""), count(text, "href=\"data:"));
}

TEST_F(WriteReport, ShowsEverySectionOfAnImageRun) {
  testing::write_whole_run(folder.path(), "images");
  folder.file("config.toml", "seed = 1\n");
  write_report(folder.path());
  const std::string text = page();
  for (const char* part : {">finished</span>",
                           "1,234,567 trained, 345,678 exported",
                           "step 100 of 100",
                           "bad steps left out",
                           "<h2>Results</h2>",
                           "after collapse",
                           "75.00\xC2\xA0%",
                           "nats per image",
                           "Accuracy",
                           "Learning rate",
                           "Gradient norm",
                           "images/s",
                           "MFU",
                           "GiB",
                           "Entropy of the weights",
                           "Diversity",
                           "Movement",
                           "expert 1",
                           "mean over the groups",
                           "Confusion matrix",
                           "Images after step 100",
                           "<h3>After step 90</h3>",
                           "<h2>Events</h2>",
                           "seed = 1"}) {
    EXPECT_TRUE(shows(text, part)) << part;
  }
}

TEST_F(WriteReport, LeavesOutWhatTheRunHasNotMeasured) {
  MetricsWriter metrics(folder.path(), MetricsWriter::fresh);
  metrics.write(RunRow{.steps = 10});
  write_report(folder.path());
  EXPECT_EQ(testing::WellFormedness(page()).error(), "");
  EXPECT_FALSE(shows(page(), "<h2>"));
  metrics.write(TrainRow{.step = 1, .loss = 2});
  write_report(folder.path());
  EXPECT_TRUE(shows(page(), "nats per token"));
  EXPECT_EQ(count(page(), "<h2>"), 1U);
  EXPECT_EQ(count(page(), "<figure"), 1U);
}

TEST_F(WriteReport, OfAnEmptyFileIsAPage) {
  folder.file("metrics.jsonl", "");
  write_report(folder.path());
  EXPECT_EQ(testing::WellFormedness(page()).error(), "");
  EXPECT_TRUE(shows(page(), ">running</span>"));
}

TEST_F(WriteReport, LaysAnotherRunOverTheLosses) {
  testing::write_whole_run(folder.path(), "tokens");
  const testing::TemporaryFolder dense;
  MetricsWriter metrics(dense.path(), MetricsWriter::fresh);
  metrics.write(TrainRow{.step = 1, .loss = 2});
  metrics.write(ValidationRow{.step = 50, .loss = 1.75});
  metrics.write(ResultRow{.step = 50, .loss = 1.625});
  write_report(folder.path(), {.compare = dense.path()});
  const std::string name = dense.path().filename().string();
  EXPECT_TRUE(shows(page(), name + ", validation: <b>1.75</b>"));
  EXPECT_TRUE(shows(page(), "trained model of " + name));
  EXPECT_TRUE(shows(page(), "1.6250"));
  EXPECT_THROW(write_report(folder.path(), {.compare = dense / "none"}), IoError);
}

TEST_F(WriteReport, LeavesTheOldPageWhenTheMetricsAreDamaged) {
  folder.file("report.html", "old");
  folder.file("metrics.jsonl", "{\"kind\":\"train\"}\n{\"kind\":\"x\"}\n");
  EXPECT_THROW(write_report(folder.path()), FormatError);
  EXPECT_EQ(page(), "old");
}

TEST_F(WriteReport, ShowsTheLatestSamplesFirst) {
  MetricsWriter metrics(folder.path(), MetricsWriter::fresh);
  for (Index step = 1; step <= 9; ++step) metrics.write(SampleRow{.step = step, .text = "text"});
  write_report(folder.path());
  EXPECT_FALSE(shows(page(), "After step 5"));
  EXPECT_TRUE(shows(page(), "After step 6"));
  EXPECT_LT(page().find("After step 9"), page().find("After step 8"));
}

}  // namespace
}  // namespace exfusion::train
