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
  EXPECT_EQ(count(out.str(), "step 10/25 | loss 2.5000 |"), 1);
  EXPECT_EQ(count(out.str(), "step 25/25"), 1);
  EXPECT_EQ(count(out.str(), "images/s"), 3);
  EXPECT_EQ(count(out.str(), "| grad norm 0.75 | lr 3.00e-04"), 3);
  EXPECT_EQ(count(out.str(), "\r"), 0);
  EXPECT_EQ(count(out.str(), "\x1b"), 0);
}

TEST(Progress, ShowsTheMeanLossSinceTheLineBefore) {
  std::ostringstream out;
  Progress progress({.steps = 4, .interval = 2}, out, false);
  for (const double loss : {1.0, 2.0, 5.0, 7.0}) progress.step({loss, 1, 1});
  EXPECT_EQ(count(out.str(), "step 2/4 | loss 1.5000"), 1);
  EXPECT_EQ(count(out.str(), "step 4/4 | loss 6.0000"), 1);
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
