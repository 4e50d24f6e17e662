#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/metric_json.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

/// What comes back when the row is written as text and read.
template <class Row>
Row again(const Row& row) {
  return row_from_json<Row>(detail::Json::parse(to_json(row).dump()));
}

TEST(MetricJson, NumbersComeBackToTheLastBit) {
  const TrainRow row = again(TrainRow{.step = 12,
                                      .loss = 0.1 + 0.2,
                                      .learning_rate = std::nextafter(3e-4, 1),
                                      .memory_bytes = Index{1} << 40});
  EXPECT_EQ(row.step, 12);
  EXPECT_EQ(row.loss, 0.1 + 0.2);
  EXPECT_EQ(row.learning_rate, std::nextafter(3e-4, 1));
  EXPECT_EQ(row.memory_bytes, Index{1} << 40);
}

TEST(MetricJson, NumbersThatAreNotFiniteAreNullAndComeBackAsUnknown) {
  const TrainRow row{.loss = std::numeric_limits<double>::infinity()};
  EXPECT_NE(to_json(row).dump().find("\"loss\":null"), std::string::npos);
  EXPECT_TRUE(std::isnan(again(row).loss));
  EXPECT_TRUE(std::isnan(again(row).mfu));
}

TEST(MetricJson, AbsentOptionalsAreNotWritten) {
  const ValidationRow row{.step = 1, .loss = 2, .average_loss = 3.5, .best = true};
  EXPECT_EQ(to_json(row).dump(),
            R"({"kind":"validation","step":1,"epoch":null,"loss":2.0,"average_loss":3.5,"best":true})");
  EXPECT_FALSE(again(row).accuracy.has_value());
  EXPECT_EQ(again(row).average_loss, 3.5);
}

TEST(MetricJson, LayersListsAndImagesComeBack) {
  FusionDiagnostics layer;
  layer.name = "blocks.0.ffn";
  layer.groups = 2;
  layer.weights = {0.25, 0.75, 0.5, 0.5};
  layer.spread = {0.125, 0.25};
  const FusionRow fusion = again(FusionRow{.step = 3, .layers = {layer, layer}});
  ASSERT_EQ(fusion.layers.size(), 2U);
  EXPECT_EQ(fusion.layers[1].name, layer.name);
  EXPECT_EQ(fusion.layers[1].groups, 2);
  EXPECT_EQ(fusion.layers[1].weights, layer.weights);
  EXPECT_EQ(fusion.layers[1].spread, layer.spread);

  EXPECT_EQ(again(ConfusionRow{.classes = {"a", "b"}, .counts = {{1, 2}, {3, 4}}}).counts,
            (std::vector<std::vector<Index>>{{1, 2}, {3, 4}}));
  const ImagesRow images =
      again(ImagesRow{.images = {{.width = 2, .height = 3, .png = "iVBO", .attention = {1}, .grid = 1}}});
  ASSERT_EQ(images.images.size(), 1U);
  EXPECT_EQ(images.images[0].height, 3);
  EXPECT_EQ(images.images[0].png, "iVBO");
}

TEST(MetricJson, NamesTheFieldThatIsMissingOrOfAnotherType) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      row_from_json<SampleRow>(detail::Json::parse(text));
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_EQ(message(R"({"step":1})"), "text is missing");
  EXPECT_EQ(message(R"({"step":1.5,"text":"a"})"), "step: an integer below 2^63 is needed");
  EXPECT_EQ(message(R"({"step":9223372036854775808,"text":"a"})"), "step: an integer below 2^63 is needed");
  EXPECT_EQ(message(R"({"step":1,"text":7})"), "text: a text is needed");
  EXPECT_EQ(message(R"({"step":1,"text":"a","more":[]})"), "none");
}

class MetricLines : public ::testing::Test {
 protected:
  /// The kinds of the rows with their lines, or the error.
  std::string kinds(const std::string& content) {
    std::string result;
    try {
      for_each_metric(folder_.file("metrics.jsonl", content), [&](const detail::Json& row, std::size_t line) {
        result += row["kind"].get<std::string>() + std::to_string(line) + " ";
      });
    } catch (const FormatError& error) {
      return error.what();
    }
    return result;
  }
  /// The error for a line of the file.
  std::string error(const std::string& line, const std::string& text) {
    return "[" + (folder_ / "metrics.jsonl").string() + ", line " + line + "] " + text;
  }

 private:
  testing::TemporaryFolder folder_;
};

TEST_F(MetricLines, ALastLineThatWasCutIsSkipped) {
  EXPECT_EQ(kinds(""), "");
  EXPECT_EQ(kinds("{\"kind\":\"a\"}\n{\"kind\":\"b\"}\n"), "a1 b2 ");
  EXPECT_EQ(kinds("{\"kind\":\"a\"}\n{\"kind\":\"b\"}"), "a1 b2 ");
  EXPECT_EQ(kinds("{\"kind\":\"a\"}\n{\"kind\":\"b"), "a1 ");
  EXPECT_EQ(kinds("{\"kind\":\"a\"}\n{\"kind\":\"b\n"), "a1 ");
}

TEST_F(MetricLines, AnyOtherDamageIsAnErrorThatNamesTheLine) {
  EXPECT_EQ(kinds("{\"kind\":\"a\"}\n{\"ki\n{\"kind\":\"c\"}\n"),
            error("2", "is not valid JSON, or nested too deep"));
  EXPECT_EQ(kinds("\n{\"kind\":\"c\"}\n"), error("1", "is not valid JSON, or nested too deep"));
  const std::string deep(100'000, '[');
  EXPECT_EQ(kinds("{\"kind\":\"a\",\"b\":" + deep + std::string(100'000, ']') + "}\n{\"kind\":\"c\"}\n"),
            error("1", "is not valid JSON, or nested too deep"));
  EXPECT_EQ(kinds("[1]\n"), error("1", "is not a JSON object with the text \"kind\""));
  EXPECT_EQ(kinds("{\"kind\":3}"), error("1", "is not a JSON object with the text \"kind\""));
}

}  // namespace
}  // namespace exfusion::train
