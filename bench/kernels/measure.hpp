#pragma once

#include <vector>

#include <benchmark/benchmark.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/core/scalar.hpp>

#include "median.hpp"
#include "peak.hpp"

namespace exfusion::bench {

/// Passes of every kernel, as far as they fit into `longest_measurement`; main sets it.
inline int passes = 25;
inline constexpr double longest_measurement = 2.5;  // seconds
inline constexpr int fewest_passes = 3;

/// In memory as that of tensors: on the boundaries of cache lines, in huge pages where it is much.
inline Buffer<float> random_numbers(Index count) {
  Buffer<float> values(count);
  Rng(1).fill_normal(values.span(), 0.0, 1.0);
  return values;
}

/// Bytes that a kernel must move when nothing is in the caches.
struct Traffic {
  double read = 0;
  double written = 0;
};

namespace detail {

/// Times `kernel` after one pass that warms up; calls `measure_peak` before each pass.
template <class Kernel, class MeasurePeak>
std::vector<double> seconds_of_passes(benchmark::State& state, const Kernel& kernel,
                                      const MeasurePeak& measure_peak) {
  kernel();
  std::vector<double> times;
  for (auto _ : state) {
    const double begin = now();
    for (int pass = 0; pass < passes; ++pass) {
      if (pass >= fewest_passes && now() - begin > longest_measurement) break;
      measure_peak();
      const double start = now();
      kernel();
      times.push_back(now() - start);
    }
    state.SetIterationTime(median(times));
  }
  return times;
}

}  // namespace detail

/// Reports the median rate of `kernel`, which does so many operations, and its part of the peak.
template <class Kernel>
void measure_operations(benchmark::State& state, double operations, const Kernel& kernel,
                        double (*peak)() = fp32_peak) {
  std::vector<double> least;
  const auto seconds =
      detail::seconds_of_passes(state, kernel, [&] { least.push_back(operations / peak()); });
  state.counters["GFLOP/s"] = operations / median(seconds) / 1e9;
  state.counters["peak"] = operations / median(least) / 1e9;
  state.counters["percent"] = 100 * median_ratio(least, seconds);
}

/// Reports bytes per second, and the part of the time that the memory alone would take for them. Nothing of
/// what the kernel reads is in the caches when it starts.
template <class Kernel>
void measure_bytes(benchmark::State& state, const Traffic& traffic, const Kernel& kernel) {
  static MemoryProbe memory;
  std::vector<double> reads, updates, least;
  const auto seconds = detail::seconds_of_passes(state, kernel, [&] {
    const Bandwidth bandwidth = memory.measure();
    reads.push_back(bandwidth.read);
    updates.push_back(bandwidth.update);
    least.push_back(bandwidth.seconds(traffic.read, traffic.written));
  });
  state.counters["GB/s"] = (traffic.read + traffic.written) / median(seconds) / 1e9;
  state.counters["read"] = median(reads) / 1e9;
  state.counters["update"] = median(updates) / 1e9;
  state.counters["percent"] = 100 * median_ratio(least, seconds);
}

/// For BENCHMARK(...)->Apply: `seconds_of_passes` counts the passes, and tells their time.
inline void in_passes(benchmark::internal::Benchmark* bench) {
  bench->Iterations(1)->UseManualTime()->Unit(benchmark::kMillisecond);
}

}  // namespace exfusion::bench
