// Whole training steps (forward, backward, AdamW; no dropout), each in turns with the dense model's step in
// the same process. The flags choose the cases: all combinations of what they list.

#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <benchmark/benchmark.h>

#include <exfusion/core/error.hpp>

#include "median.hpp"
#include "peak.hpp"
#include "peak_memory.hpp"
#include "trainer.hpp"

namespace exfusion::bench {
namespace {

struct Options {
  std::vector<std::string> models = {"gpt"}, ffns = {"dense"}, precisions = {"fp32"}, doubled;
  std::vector<Index> experts = {8}, layers = {0}, d_models = {0}, batches = {0}, lengths = {0};
  int steps = 5;
  bool alone = false;
};

struct Times {
  std::vector<double> subject, reference, least;  ///< Seconds; the least are those at the peak.
};

double seconds_of_step(Trainer& trainer) {
  const double start = now();
  trainer.step();
  return now() - start;
}

void report(benchmark::State& state, const StepCase& subject, const Times& times) {
  const double seconds = median(times.subject), least = median(times.least);
  state.counters["ms"] = 1e3 * seconds;
  state.counters["tokens"] = static_cast<double>(subject.tokens());
  state.counters["tokens/s"] = static_cast<double>(subject.tokens()) / seconds;
  state.counters["GFLOP"] = subject.flops() / 1e9;
  state.counters["peak_GFLOP/s"] = subject.flops() / least / 1e9;
  state.counters["MFU"] = 100 * median_ratio(times.least, times.subject);
}

/// The peak memory is that of the process before the reference joins the subject.
void measure(benchmark::State& state, const StepCase& subject, const std::optional<StepCase>& reference) {
  try {
    reset_peak_memory();
    const auto trainer = make_trainer(subject);
    trainer->step();
    state.counters["peak_RSS_MB"] = peak_memory() / 1e6;
    std::unique_ptr<Trainer> other;
    if (reference) other = make_trainer(*reference);
    if (reference) other->step();
    Times times;
    for (auto _ : state) {
      times.least.push_back(subject.flops() / (subject.precision == "bf16" ? bf16_peak() : fp32_peak()));
      if (reference) times.reference.push_back(seconds_of_step(*other));
      times.subject.push_back(seconds_of_step(*trainer));
      state.SetIterationTime(times.subject.back());
    }
    report(state, subject, times);
    if (!reference) return;
    state.counters["reference_ms"] = 1e3 * median(times.reference);
    state.counters["ratio"] = median_ratio(times.subject, times.reference);
    state.counters["FLOP_ratio"] = subject.flops() / reference->flops();
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

void add(const StepCase& subject, const std::optional<StepCase>& reference, int steps) {
  benchmark::RegisterBenchmark(subject.name().c_str(), measure, subject, reference)
      ->Iterations(steps)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

/// The case beside the dense model, or its doubled versions beside itself.
void add_case(const StepCase& chosen, const Options& options) {
  const StepCase subject = chosen.completed();
  for (const std::string& size : options.doubled) {
    StepCase twice = subject;
    (size == "layers" ? twice.layers : size == "batch" ? twice.batch : twice.d_model) *= 2;
    add(twice, subject, options.steps);
  }
  if (!options.doubled.empty()) return;
  StepCase dense = subject;
  dense.ffn = "dense";
  dense.experts = 1;
  if (options.alone || subject.ffn == "dense") return add(subject, std::nullopt, options.steps);
  add(subject, dense, options.steps);
}

/// Each case with each of `values` in one of its fields.
template <class T>
std::vector<StepCase> combined(const std::vector<StepCase>& cases, T StepCase::*field,
                               const std::vector<T>& values) {
  std::vector<StepCase> result;
  for (StepCase chosen : cases) {
    for (const T& value : values) {
      chosen.*field = value;
      result.push_back(chosen);
    }
  }
  return result;
}

void add_cases(const Options& options) {
  std::vector<StepCase> cases(1);
  cases = combined(cases, &StepCase::model, options.models);
  cases = combined(cases, &StepCase::precision, options.precisions);
  cases = combined(cases, &StepCase::layers, options.layers);
  cases = combined(cases, &StepCase::d_model, options.d_models);
  cases = combined(cases, &StepCase::batch, options.batches);
  cases = combined(cases, &StepCase::length, options.lengths);
  cases = combined(cases, &StepCase::ffn, options.ffns);
  for (StepCase chosen : cases) {
    const bool is_dense = chosen.ffn == "dense";
    for (Index experts : is_dense ? std::vector<Index>{1} : options.experts) {
      chosen.experts = experts;
      add_case(chosen, options);
    }
  }
}

void add_flags(CLI::App& app, Options& o) {
  app.option_defaults()->always_capture_default();
  app.add_option("--model", o.models, "gpt, gpt2, vit")->check(CLI::IsMember({"gpt", "gpt2", "vit"}));
  app.add_option("--ffn", o.ffns,
                 "dense; experts fused by bank (bank_bf16_moments: with AdamW's moments of experts in bf16), "
                 "learned, static; sparse moe1, moe2")
      ->check(CLI::IsMember({"dense", "bank", "bank_bf16_moments", "learned", "static", "moe1", "moe2"}));
  app.add_option("--experts", o.experts, "experts of what is not dense")->check(CLI::PositiveNumber);
  app.add_option("--layers", o.layers, "0, here and below: the model's own")->check(CLI::NonNegativeNumber);
  app.add_option("--d-model", o.d_models, "multiples of 64")->check(CLI::NonNegativeNumber);
  app.add_option("--batch", o.batches, "sequences or images of a step")->check(CLI::NonNegativeNumber);
  app.add_option("--length", o.lengths, "tokens of a sequence")->check(CLI::NonNegativeNumber);
  app.add_option("--precision", o.precisions, "fp32, bf16: of the products; also of the dense model's")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--double", o.doubled, "compare with this doubled: layers, batch, d_model")
      ->check(CLI::IsMember({"layers", "batch", "d_model"}));
  app.add_option("--steps", o.steps, "measured steps, after one that warms up")->check(CLI::PositiveNumber);
  app.add_flag("--alone", o.alone, "without the dense model beside it");
}

}  // namespace
}  // namespace exfusion::bench

int main(int argc, char** argv) {
  using namespace exfusion::bench;
  CLI::App app("Times training steps. Google Benchmark's flags are taken too.");
  Options options;
  add_flags(app, options);
  app.allow_extras();
  CLI11_PARSE(app, argc, argv);
  add_cases(options);
  std::vector<std::string> rest = app.remaining();
  std::vector<char*> arguments = {argv[0]};
  for (std::string& argument : rest) arguments.push_back(argument.data());
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
