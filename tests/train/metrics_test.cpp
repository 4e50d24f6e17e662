#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/metrics.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

class MetricsWriterTest : public ::testing::Test {
 protected:
  std::string rows() const { return read_file(folder.path() / "metrics.jsonl"); }
  std::string table() const { return read_file(folder.path() / "metrics.csv"); }

  /// Kind and step of each row.
  std::string kinds() const {
    std::string result;
    for_each_metric(folder.path() / "metrics.jsonl", [&](const detail::Json& row, std::size_t) {
      result += row["kind"].get<std::string>() + (row.contains("step") ? row["step"].dump() : "") + " ";
    });
    return result;
  }

  testing::TemporaryFolder folder;
};

const std::string csv_header =
    "kind,step,epoch,loss,gradient_norm,learning_rate,items_per_second,mfu,seconds,memory_bytes,bad_steps,"
    "accuracy,average_loss,average_accuracy,best\n";

TEST_F(MetricsWriterTest, WritesALineForEachRowAtOnce) {
  MetricsWriter metrics(folder.path(), MetricsWriter::fresh);
  EXPECT_EQ(rows(), "");
  metrics.write(SampleRow{.step = 5, .text = "a \"b\"\n"});
  EXPECT_EQ(rows(), R"({"kind":"sample","step":5,"text":"a \"b\"\n"})"
                    "\n");
  metrics.write(EventRow{.step = 6, .text = "cut \xC3"});
  EXPECT_NE(rows().find("cut \xEF\xBF\xBD"), std::string::npos) << "bytes that are no UTF-8 are replaced";
}

TEST_F(MetricsWriterTest, PutsTrainingAndValidationIntoTheTableToo) {
  MetricsWriter metrics(folder.path(), MetricsWriter::fresh);
  metrics.write(RunRow{.model = "GPT", .steps = 100});
  metrics.write(TrainRow{.step = 10,
                         .epoch = 0.5,
                         .loss = 2.25,
                         .gradient_norm = std::numeric_limits<double>::infinity(),
                         .seconds = 3,
                         .memory_bytes = 1024});
  metrics.write(ValidationRow{.step = 10, .epoch = 0.5, .loss = 2.5, .average_loss = 2.75, .best = true});
  EXPECT_EQ(table(), csv_header + "train,10,0.5,2.25,,,,,3.0,1024,0,,,,\n" +
                         "validation,10,0.5,2.5,,,,,,,,,2.75,,true\n");
}

TEST_F(MetricsWriterTest, AFreshRunReplacesTheFiles) {
  MetricsWriter(folder.path(), MetricsWriter::fresh).write(TrainRow{.step = 1});
  MetricsWriter(folder.path(), MetricsWriter::fresh).write(SampleRow{.step = 2});
  EXPECT_EQ(kinds(), "sample2 ");
  EXPECT_EQ(table(), csv_header);
}

TEST_F(MetricsWriterTest, AResumedRunGoesOnAfterTheLastWholeRow) {
  MetricsWriter(folder.path(), MetricsWriter::fresh).write(TrainRow{.step = 1, .loss = 0.1 + 0.2});
  const std::string before = rows();
  folder.file("metrics.jsonl", before + "{\"kind\":\"train\",\"st");
  folder.file("metrics.csv", table() + "train,2,");
  MetricsWriter(folder.path(), MetricsWriter::resume).write(TrainRow{.step = 3});
  EXPECT_TRUE(rows().starts_with(before));
  EXPECT_EQ(kinds(), "train1 train3 ");
  EXPECT_EQ(table(), csv_header + "train,1,,0.30000000000000004,,,,,,0,0,,,,\ntrain,3,,,,,,,,0,0,,,,\n");
}

TEST_F(MetricsWriterTest, ResumingWithoutFilesBeginsThem) {
  MetricsWriter(folder.path(), MetricsWriter::resume).write(TrainRow{.step = 3});
  EXPECT_EQ(kinds(), "train3 ");
  EXPECT_TRUE(table().starts_with(csv_header + "train,3"));
}

TEST_F(MetricsWriterTest, TruncationTakesOutWhatCameAfterTheStep) {
  MetricsWriter metrics(folder.path(), MetricsWriter::fresh);
  metrics.write(RunRow{});
  metrics.write(TrainRow{.step = 10});
  metrics.write(EventRow{.step = 15});
  metrics.write(TrainRow{.step = 20});
  metrics.write(ValidationRow{.step = 20});
  metrics.write(TrainRow{.step = 30});
  metrics.write(EventRow{.step = 20});
  metrics.write(RunRow{});
  metrics.write(SampleRow{.step = 20});
  metrics.truncate_to(20);
  EXPECT_EQ(kinds(), "run train10 event15 train20 validation20 sample20 ");
  EXPECT_EQ(std::ranges::count(table(), '\n'), 4);
  metrics.write(TrainRow{.step = 25});
  EXPECT_EQ(kinds(), "run train10 event15 train20 validation20 sample20 train25 ");
  EXPECT_EQ(std::ranges::count(table(), '\n'), 5);
  metrics.truncate_to(0);
  EXPECT_EQ(kinds(), "run ");
  EXPECT_EQ(table(), csv_header);
}

TEST_F(MetricsWriterTest, DamageIsLeftAsItIs) {
  const std::string damaged = "{\"kind\":\"train\",\"step\":1}\nnonsense\n{\"kind\":\"train\",\"step\":2}\n";
  folder.file("metrics.jsonl", damaged);
  EXPECT_THROW(MetricsWriter(folder.path(), MetricsWriter::resume), FormatError);
  EXPECT_EQ(rows(), damaged);
  folder.file("metrics.jsonl", "{\"kind\":\"train\",\"step\":\"one\"}\n");
  EXPECT_THROW(MetricsWriter(folder.path(), MetricsWriter::resume), FormatError);
}

TEST_F(MetricsWriterTest, AFolderThatIsNotThereIsAnError) {
  EXPECT_THROW(MetricsWriter(folder.path() / "none", MetricsWriter::fresh), IoError);
}

}  // namespace
}  // namespace exfusion::train
