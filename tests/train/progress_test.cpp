#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/progress.hpp>

namespace exfusion::train {
namespace {

Index count(const std::string& text, const std::string& part) {
  Index found = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(Progress, WritesAPlainLineAtEachIntervalAndAtTheEnd) {
  std::ostringstream out;
  Progress progress({.steps = 25, .interval = 10, .items_per_step = 64, .items = "images"}, out, false);
  for (int step = 0; step < 25; ++step) progress.step({2.5, 0.75, 3e-4});
  progress.finish();
  EXPECT_EQ(count(out.str(), "\n"), 3);
  EXPECT_EQ(count(out.str(), "step 10/25 (40 %) | loss 2.5000 |"), 1);
  EXPECT_EQ(count(out.str(), "step 25/25 (100 %)"), 1);
  EXPECT_EQ(count(out.str(), "images/s"), 3);
  EXPECT_EQ(count(out.str(), "| grad norm 0.75 | lr 3.00e-04"), 3);
  EXPECT_EQ(count(out.str(), "\r"), 0);
  EXPECT_EQ(count(out.str(), "\x1b"), 0);
}

TEST(Progress, SaysWhenARowOfMetricsIsDue) {
  std::ostringstream out;
  Progress progress({.steps = 5, .interval = 2}, out, false);
  std::string due;
  for (int step = 1; step <= 5; ++step) due += progress.step({1, 1, 1}) ? 'x' : '.';
  EXPECT_EQ(due, ".x.xx");
}

TEST(Progress, ShowsTheValidationLossAndTheUtilisationWhereTheyAreKnown) {
  std::ostringstream out;
  Progress progress(
      {.steps = 2, .interval = 1, .items_per_step = 10, .flops_per_step = 1e3, .peak_flops = 1e3}, out,
      false);
  progress.step({1, 1, 1});
  progress.step({1, 1, 1, 1.25});
  EXPECT_EQ(count(out.str(), "val loss"), 1);
  EXPECT_EQ(count(out.str(), "| val loss 1.2500 |"), 1);
  EXPECT_EQ(count(out.str(), "| MFU "), 2);
  EXPECT_NEAR(progress.pace().mfu, progress.pace().items_per_second / 10, 1e-9 * progress.pace().mfu);
  EXPECT_EQ(count(out.str(), "iB\n"), 2) << out.str();
}

TEST(Progress, GoesOnWhereARunWasStopped) {
  std::ostringstream out;
  Progress progress({.steps = 100, .first_step = 49, .interval = 10}, out, false);
  EXPECT_TRUE(progress.step({1, 1, 1}));
  EXPECT_EQ(count(out.str(), "step  50/100 (50 %)"), 1);
  progress.rewind(19);
  EXPECT_TRUE(progress.step({1, 1, 1}));
  EXPECT_EQ(count(out.str(), "step  20/100 (20 %)"), 1);
}

TEST(Progress, InQuietRunsSaysOnlyWhatGoesWrong) {
  std::ostringstream out;
  Progress progress({.steps = 2, .interval = 1, .quiet = true}, out, false);
  EXPECT_TRUE(progress.step({1, 1, 1}));
  progress.note("all is well");
  EXPECT_EQ(out.str(), "");
  progress.warn("the disk is full");
  EXPECT_EQ(out.str(), "the disk is full\n");
}

TEST(MemoryUse, IsThatOfAProcess) {
  EXPECT_GT(memory_use(), 1e6);
  EXPECT_LT(memory_use(), 1e11);
}

TEST(Progress, RedrawsOneLineOnATerminalAndKeepsNotesAboveIt) {
  std::ostringstream out;
  Progress progress({.steps = 3, .interval = 1}, out, true);
  progress.step({1, 1, 1});
  progress.step({1, 1, 1});
  progress.note("validation loss ", 1.25);
  progress.step({1, 1, 1});
  EXPECT_EQ(count(out.str(), "\n"), 1);
  EXPECT_EQ(count(out.str(), "\r\x1b[Kvalidation loss 1.25\nstep 2/3"), 1);
  progress.finish();
  progress.finish();
  EXPECT_EQ(count(out.str(), "\n"), 2);
}

TEST(Progress, EndsItsLineWhenAnErrorEndsTheRun) {
  std::ostringstream out;
  {
    Progress progress({.steps = 3, .interval = 1}, out, true);
    progress.step({1, 1, 1});
  }
  EXPECT_EQ(out.str().back(), '\n');
}

TEST(Progress, RefusesAnIntervalOfZero) {
  std::ostringstream out;
  EXPECT_THROW(Progress({.steps = 1, .interval = 0}, out, false), ConfigError);
}

TEST(Progress, WritesTimesAsClocksDo) {
  EXPECT_EQ(clock_text(0), "0:00");
  EXPECT_EQ(clock_text(59.6), "1:00");
  EXPECT_EQ(clock_text(93), "1:33");
  EXPECT_EQ(clock_text(3725), "1:02:05");
  EXPECT_EQ(clock_text(-1), "0:00");
  EXPECT_EQ(clock_text(1e300), clock_text(3.6e9));
}

TEST(Progress, WritesCountsWithThreeDigits) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(987), "987");
  EXPECT_EQ(count_text(999.6), "1.00k");
  EXPECT_EQ(count_text(1234), "1.23k");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(123456), "123k");
  EXPECT_EQ(count_text(999700), "1.00M");
  EXPECT_EQ(count_text(2.5e9), "2.50G");
}

}  // namespace
}  // namespace exfusion::train
