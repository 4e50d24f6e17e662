#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/report/pictures.hpp>

#include "report/page_support.hpp"
#include "report/run_support.hpp"

namespace exfusion::train::report {
namespace {

TEST(ConfusionTable, ShowsCountsSharesAndWhatWasRight) {
  const std::string table = confusion_table({.classes = {"cat", "<dog>"}, .counts = {{9, 3}, {0, 5}}});
  EXPECT_EQ(testing::WellFormedness(table).error(), "");
  EXPECT_NE(table.find("title=\"cat taken for &lt;dog&gt;: 25.0\xC2\xA0%\""), std::string::npos);
  EXPECT_NE(table.find(">75.0\xC2\xA0%</td>"), std::string::npos);
  EXPECT_NE(table.find("<td></td>"), std::string::npos) << "no count, no number";
}

TEST(ConfusionTable, HasNoShareForAClassWithoutImages) {
  const std::string table = confusion_table({.classes = {"a", "b"}, .counts = {{2, 0}, {0, 0}}});
  EXPECT_NE(table.find("<td></td><td></td><td>–</td>"), std::string::npos);
}

TEST(AttentionShade, IsDarkestWhereAttentionIsSmallest) {
  const std::string shade = attention_shade({.attention = {1, 0, 0.5, 1}, .grid = 2});
  EXPECT_EQ(testing::WellFormedness(shade).error(), "");
  EXPECT_NE(shade.find("viewBox=\"0 0 2 2\""), std::string::npos);
  EXPECT_NE(shade.find("<path fill-opacity=\"0.85\" d=\"M1 0h1v1h-1z\">"), std::string::npos);
  EXPECT_EQ(shade.find("M0 0"), std::string::npos) << "the largest attention stays clear";
  EXPECT_EQ(shade.find("M1 1"), std::string::npos);
  EXPECT_NE(shade.find("M0 1"), std::string::npos);
}

TEST(AttentionShade, IsNothingWithoutAttention) {
  EXPECT_EQ(attention_shade({}), "");
  EXPECT_EQ(attention_shade({.attention = {0, unknown, 0, 0}, .grid = 2}), "");
}

TEST(GalleryFigure, SaysWhetherThePredictionIsRight) {
  GalleryImage image{
      .width = 3, .height = 2, .png = "AAAA", .label = "cat", .prediction = "cat", .probability = 0.5};
  EXPECT_NE(gallery_figure(image).find("✓ cat"), std::string::npos);
  EXPECT_NE(gallery_figure(image).find("src=\"data:image/png;base64,AAAA\" width=\"3\" height=\"2\""),
            std::string::npos);
  image.prediction = "dog";
  EXPECT_NE(gallery_figure(image).find("✗ dog</span><span class=\"soft\">, is cat"), std::string::npos);
  image.png = testing::hostile;
  EXPECT_EQ(testing::WellFormedness(gallery_figure(image)).error(), "");
}

}  // namespace
}  // namespace exfusion::train::report
