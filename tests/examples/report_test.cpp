#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/metrics.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion::testing {
namespace {

class Report : public ::testing::Test {
 protected:
  Report() {
    for (const char* name : {"fused", "dense"}) {
      std::filesystem::create_directory(folder / name);
      train::MetricsWriter metrics(folder / name, train::MetricsWriter::fresh);
      metrics.write(train::TrainRow{.step = 1, .loss = 2});
    }
  }
  ProgramResult run(const std::vector<std::string>& arguments) const {
    return run_program(folder.path(), "exfusion-report", arguments);
  }
  /// Of a file in the folder; empty when there is none.
  std::string page(const std::string& name) const {
    return std::filesystem::exists(folder / name) ? read_file(folder / name) : std::string();
  }

  TemporaryFolder folder;
};

TEST_F(Report, WritesOneRunIntoItsFolder) {
  const ProgramResult result = run({"fused"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.out, "written: fused/report.html\n");
  EXPECT_NE(page("fused/report.html").find("Loss"), std::string::npos);
  EXPECT_EQ(run({"fused", "--compare", "dense"}).exit_code, 0);
  EXPECT_NE(page("fused/report.html").find("dense, training"), std::string::npos);
}

TEST_F(Report, ComparesSeveralRuns) {
  EXPECT_EQ(run({"fused", "dense"}).out, "written: comparison.html\n");
  EXPECT_NE(page("comparison.html").find("Comparison of 2 runs"), std::string::npos);
  EXPECT_EQ(run({"fused", "dense", "--out", "page.html"}).out, "written: page.html\n");
  EXPECT_EQ(page("page.html"), page("comparison.html"));
  EXPECT_EQ(page("fused/report.html"), "");
}

TEST_F(Report, SaysWhatIsWrong) {
  const auto error = [&](const std::vector<std::string>& arguments) {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 2);
    return result.error;
  };
  EXPECT_EQ(error({"none"}), "error: [none/metrics.jsonl] cannot be opened: No such file or directory\n");
  EXPECT_EQ(error({"fused", "dense", "--compare", "dense"}),
            "error: [--compare] is dense: it must be left out when several runs are given\n");
  EXPECT_EQ(
      error({"fused", "--out", "page.html"}),
      "error: [--out] is page.html: it must be left out for a single run, whose page stands in its folder\n");
  EXPECT_NE(error({}), "");
  folder.file("fused/metrics.jsonl", "nonsense\n{\"kind\":\"x\"}\n");
  EXPECT_EQ(error({"fused"}), "error: [fused/metrics.jsonl, line 1] is not valid JSON, or nested too deep\n");
}

}  // namespace
}  // namespace exfusion::testing
