#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/metric_rows.hpp>
#include <exfusion/train/report/html.hpp>

#include "report/page_support.hpp"

namespace exfusion::train::report {
namespace {

TEST(Html, EscapesWhatHasAMeaningInElementsAndAttributes) {
  EXPECT_EQ(escaped("a < b && \"c\" > 'd'"), "a &lt; b &amp;&amp; &quot;c&quot; &gt; &#39;d&#39;");
  EXPECT_EQ(escaped("line\n\ttab é"), "line\n\ttab é");
}

TEST(Html, ReplacesControlCharacters) {
  EXPECT_EQ(escaped(std::string("a\0b\x1B[0m\r\x7F", 9)), "a�b�[0m��");
}

TEST(Html, WritesNumbersForReaders) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(std::numeric_limits<Index>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(value_text(24312.4), "24,312");
  EXPECT_EQ(value_text(1.46971), "1.47");
  EXPECT_EQ(value_text(0.012345), "0.01235");
  EXPECT_EQ(value_text(3.14159e-5), "3.14e-5");
  EXPECT_EQ(value_text(2.5e-12), "2.5e-12");
  EXPECT_EQ(value_text(1e200), "1e+200");
  EXPECT_EQ(percent(0.1234), "12.34\xC2\xA0%");
  for (double none : {unknown, HUGE_VAL, -HUGE_VAL}) {
    EXPECT_EQ(number(none), "–");
    EXPECT_EQ(fixed(none, 2), "–");
    EXPECT_EQ(percent(none), "–");
    EXPECT_EQ(value_text(none), "–");
  }
}

TEST(Html, APageIsWellFormedAndItsTitleIsEscaped) {
  const std::string text =
      page("a <b>", section("Heading", table({"name", "loss"}, {{"x", "1"}, {"y", "2"}})));
  EXPECT_EQ(testing::WellFormedness(text).error(), "");
  EXPECT_NE(text.find("<title>a &lt;b&gt;</title>"), std::string::npos);
  EXPECT_EQ(section("Heading", ""), "");
}

TEST(WellFormedness, FindsWhatIsNot) {
  const auto error = [](const char* text) { return testing::WellFormedness(text).error(); };
  EXPECT_EQ(error("<p title=\"a &amp; b\">x<br/>y</p>"), "");
  for (const char* wrong : {"<p>", "<p><b></p></b>", "</p>", "<p title=a></p>", "<p>a < b</p>",
                            "<p>a & b</p>", "<p title=\"<\"></p>", "<p"}) {
    EXPECT_NE(error(wrong), "") << wrong;
  }
}

}  // namespace
}  // namespace exfusion::train::report
