// The kernels on all threads, each as a part of what the machine gives, which is measured in turns with it:
// fp32 multiply-adds for products, memory bandwidth for what only streams.

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string_view>
#include <vector>

#include "measure.hpp"

namespace exfusion::bench {
namespace {

/// Google Benchmark's table, and below it the means over what belongs together.
class MeanReporter : public benchmark::ConsoleReporter {
 public:
  MeanReporter() : ConsoleReporter(OO_Tabular) {}

  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      for (Mean& mean : means_) {
        if (run.benchmark_name().starts_with(mean.prefix)) {
          mean.sum += run.counters.at("percent").value;
          ++mean.count;
        }
      }
    }
  }

  void Finalize() override {
    for (const Mean& mean : means_) {
      if (mean.count == 0) continue;
      GetOutputStream() << mean.prefix << "*: mean of " << mean.count << ": " << mean.sum / mean.count
                        << " % of the peak\n";
    }
  }

 private:
  struct Mean {
    std::string_view prefix;
    double sum = 0;
    int count = 0;
  };
  std::vector<Mean> means_ = {{"gemm/"}, {"gemm_own/"}, {"gemm_bf16/"}, {"attention/both/"}};
};

/// Takes `--passes=N` off the command line. False when N is no positive number.
bool take_passes(int& argc, char** argv) {
  constexpr std::string_view flag = "--passes=";
  char** const end = std::remove_if(argv + 1, argv + argc, [&](const char* argument) {
    if (!std::string_view(argument).starts_with(flag)) return false;
    passes = std::atoi(argument + flag.size());
    return true;
  });
  argc = static_cast<int>(end - argv);
  argv[argc] = nullptr;
  return passes > 0;
}

}  // namespace
}  // namespace exfusion::bench

int main(int argc, char** argv) {
  using namespace exfusion::bench;
  const bool understood = take_passes(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (!understood || benchmark::ReportUnrecognizedArguments(argc, argv)) {
    std::cerr << "usage: bench_kernels [--passes=25] [Google Benchmark's flags]\n";
    return 2;
  }
  MeanReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
}
