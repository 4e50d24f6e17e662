// Draws the run folders that the training programs write: one run as RUN/report.html, several as one page
// that compares them. It can be called while a run goes on.
//
//   exfusion-report RUN                    one run
//   exfusion-report RUN --compare OTHER    the same with another run's losses laid over it
//   exfusion-report RUN RUN --out FILE     a comparison

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include <exfusion/train/report/comparison.hpp>
#include <exfusion/train/report/report.hpp>

#include "program.hpp"

namespace {

using namespace exfusion;

struct Options {
  std::vector<std::string> runs;
  std::string out = "comparison.html";
  std::string compare;
};

std::filesystem::path write(const Options& o) {
  if (o.runs.size() == 1) {
    train::ReportOptions options;
    if (!o.compare.empty()) options.compare = o.compare;
    train::write_report(o.runs.front(), options);
    return std::filesystem::path(o.runs.front()) / "report.html";
  }
  train::write_comparison({o.runs.begin(), o.runs.end()}, o.out);
  return o.out;
}

}  // namespace

int main(int argc, char** argv) try {
  Options o;
  CLI::App app("Draws what training runs have measured as a page for the browser.");
  app.option_defaults()->multi_option_policy(examples::last_wins);
  app.add_option("--compare", o.compare, "A run to lay over the one that is drawn");
  const CLI::Option* out =
      app.add_option("--out", o.out, "The page that compares several runs")->capture_default_str();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  app.add_option("runs", o.runs, "Run folders, as the training programs write them")->required();
  if (const auto code = examples::parse(app, argc, argv)) return *code;
  examples::require(o.compare.empty() || o.runs.size() == 1, "--compare", o.compare,
                    "left out when several runs are given");
  examples::require(out->count() == 0 || o.runs.size() > 1, "--out", o.out,
                    "left out for a single run, whose page stands in its folder");
  std::cout << "written: " << write(o).string() << '\n';
  return 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
