#include <chrono>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/report/read_metrics.hpp>

#include "report/run_support.hpp"

namespace exfusion::train {
namespace {

class ReadRun : public ::testing::Test {
 protected:
  RunMetrics read(const std::string& content) {
    folder.file("metrics.jsonl", content);
    return read_run(folder.path());
  }
  /// The error that the rows bring about, without the file's name.
  std::string error(const std::string& content) {
    try {
      read(content);
    } catch (const FormatError& error) {
      const std::string text = error.what(), file = (folder / "metrics.jsonl").string();
      EXPECT_TRUE(text.starts_with("[" + file + ", ")) << text;
      return text.substr(file.size() + 3);
    }
    return "none";
  }

  testing::TemporaryFolder folder;
};

TEST_F(ReadRun, CollectsTheRowsOfEachKind) {
  testing::write_whole_run(folder.path(), "tokens");
  folder.file("config.toml", "seed = 1\n");
  const RunMetrics metrics = read_run(folder.path());
  EXPECT_EQ(metrics.name, folder.path().filename());
  EXPECT_EQ(metrics.run.parameters, 1234567);
  EXPECT_EQ(metrics.training.size(), 100U);
  EXPECT_EQ(metrics.validation.size(), 10U);
  EXPECT_EQ(metrics.fusion.size(), 10U);
  EXPECT_EQ(metrics.samples.size(), 1U);
  EXPECT_EQ(metrics.events.size(), 1U);
  EXPECT_EQ(metrics.result->collapsed_loss, 1.25);
  EXPECT_EQ(metrics.confusion->counts[0][1], 2);
  EXPECT_EQ(metrics.images->images.size(), 1U);
  EXPECT_EQ(metrics.configuration, "seed = 1\n");
  EXPECT_EQ(metrics.state, RunState::finished);
  EXPECT_EQ(metrics.step(), 100);
}

TEST_F(ReadRun, TellsWhetherTheRunGoesOn) {
  const auto line = [](const auto& row) { return to_json(row).dump() + "\n"; };
  const std::string first = line(TrainRow{.step = 1}), second = line(TrainRow{.step = 2});
  EXPECT_EQ(read("").state, RunState::running);
  EXPECT_EQ(read(first).state, RunState::running);
  const std::string stopped = first + line(EventRow{.step = 1, .text = "interrupted by a signal"});
  EXPECT_EQ(read(stopped).state, RunState::interrupted);
  EXPECT_EQ(read(stopped + line(RunRow{})).state, RunState::running);
  EXPECT_EQ(read(stopped + second).state, RunState::running);
  const std::string ended = first + line(ResultRow{.step = 1});
  EXPECT_EQ(read(ended).state, RunState::finished);
  EXPECT_EQ(read(ended + second).state, RunState::running);
  EXPECT_EQ(read(ended + second).step(), 2);
}

TEST_F(ReadRun, TakesARunForInterruptedThatHasNotWrittenForHours) {
  testing::write_whole_run(folder.path(), "tokens");
  const auto rows = folder / "metrics.jsonl";
  const auto before = std::filesystem::file_time_type::clock::now() - std::chrono::hours(2);
  std::filesystem::last_write_time(rows, before);
  EXPECT_EQ(read_run(folder.path()).state, RunState::finished);
  folder.file("metrics.jsonl", to_json(TrainRow{.step = 1}).dump());
  EXPECT_EQ(read_run(folder.path()).state, RunState::running);
  std::filesystem::last_write_time(rows, before);
  EXPECT_EQ(read_run(folder.path()).state, RunState::interrupted);
}

TEST_F(ReadRun, SkipsKindsOfALaterVersionAndACutLastLine) {
  EXPECT_EQ(read("{\"kind\":\"weather\",\"step\":1}\n" + to_json(TrainRow{.step = 7}).dump() + "\n{\"kind\"")
                .step(),
            7);
}

TEST_F(ReadRun, NamesTheFileAndLineOfDamage) {
  EXPECT_EQ(error("{}\n{}\n"), "line 1] is not a JSON object with the text \"kind\"");
  EXPECT_EQ(error("{\"kind\":\"x\"}\nnonsense\n{\"kind\":\"x\"}\n"),
            "line 2] is not valid JSON, or nested too deep");
  EXPECT_EQ(error("{\"kind\":\"x\"}\n{\"kind\":\"sample\",\"step\":3}\n"), "line 2] text is missing");
  EXPECT_EQ(error("{\"kind\":\"event\",\"step\":null,\"text\":\"a\"}\n"),
            "line 1] step: an integer below 2^63 is needed");
}

TEST_F(ReadRun, RefusesListsThatDoNotFitTogether) {
  FusionDiagnostics layer;
  layer.groups = 2;
  layer.weights = {0.5, 0.25, 0.25};
  EXPECT_EQ(error(to_json(FusionRow{.layers = {layer}}).dump()),
            "line 1] weights: 3 weights are not 2 groups");
  layer.groups = 0;
  EXPECT_EQ(error(to_json(FusionRow{.layers = {layer}}).dump()),
            "line 1] weights: 3 weights are not 0 groups");
  EXPECT_EQ(error(to_json(ConfusionRow{.classes = {"a", "b"}, .counts = {{1, 2}, {3}}}).dump()),
            "line 1] counts: a row and a column for each class are needed");
  EXPECT_EQ(
      error(to_json(ImagesRow{.images = {{.width = 1, .height = 1, .attention = {1}, .grid = 2}}}).dump()),
      "line 1] attention: a number for each cell of the grid is needed");
  EXPECT_EQ(error(to_json(ImagesRow{.images = {{.width = 0, .height = 1}}}).dump()),
            "line 1] width, height: 1 at least is needed");
}

TEST_F(ReadRun, NeedsTheMetrics) { EXPECT_THROW(read_run(folder.path()), IoError); }

TEST(FolderName, IsTheLastPartOfAnyPath) {
  EXPECT_EQ(detail::folder_name("out/run"), "run");
  EXPECT_EQ(detail::folder_name("out/run/"), "run");
  EXPECT_EQ(detail::folder_name("out/run/."), "run");
  EXPECT_EQ(detail::folder_name("out/other/../run"), "run");
  EXPECT_EQ(detail::folder_name("."), std::filesystem::current_path().filename());
}

}  // namespace
}  // namespace exfusion::train
