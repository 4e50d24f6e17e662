#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include <benchmark/benchmark.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/peak.hpp>
#include <exfusion/kernels/simd.hpp>

/// What the machine gives on all threads, measured by programs that compare themselves with it: clock rates
/// and neighbours change, so a peak counts only in turns with what is compared.
namespace exfusion::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// fp32 operations per second of all threads that keep to their registers.
inline double fp32_peak() { return kernels::Peak<float>::operations_per_second(); }

/// The same on bfloat16 numbers with sums in fp32.
inline double bf16_peak() { return kernels::Peak<float>::bf16_operations_per_second(); }

/// Bytes per second between memory and all threads: `read` once, and `update`, read and written back in
/// place. Of the ways to write that moves most bytes: a copy must also fetch the lines that it overwrites.
struct Bandwidth {
  double read = 0;
  double update = 0;

  /// Seconds for that many bytes: those written count as updates, the rest of those read as only read.
  double seconds(double bytes_read, double bytes_written) const {
    return 2 * bytes_written / update + (bytes_read - bytes_written) / read;
  }
};

/// Streams an array larger than the caches, which afterwards hold nothing of anybody else's.
class MemoryProbe {
 public:
  MemoryProbe() {
    parallel_for(vectors, grain, [values = values_.data()](Index begin, Index end) {
      std::fill(values + begin, values + end, Vector{});
    });
  }

  Bandwidth measure() {
    const double start = now();
    read();
    const double middle = now();
    update();
    constexpr auto size = static_cast<double>(bytes);
    return {size / (middle - start), 2 * size / (now() - middle)};
  }

 private:
  using Vector = kernels::Simd<float>::Vector;
  static constexpr std::size_t bytes = std::size_t{256} << 20;
  static constexpr Index vectors = static_cast<Index>(bytes / sizeof(Vector));
  static constexpr Index grain = (Index{1} << 20) / static_cast<Index>(sizeof(Vector));

  // Eight sums: one would wait for itself, addition by addition, and hide the memory's speed. Compilers do
  // not split a sum in floating point on their own.
  void read() const {
    parallel_for(vectors, grain, [values = values_.data()](Index begin, Index end) {
      Vector sums[8] = {};
      for (Index i = begin; i < end; i += 8) {
#pragma GCC unroll 8
        for (int lane = 0; lane < 8; ++lane) sums[lane] += values[i + lane];
      }
      for (int lane = 1; lane < 8; ++lane) sums[0] += sums[lane];
      benchmark::DoNotOptimize(sums);
    });
  }

  void update() {
    float factor = 1.0F;
    benchmark::DoNotOptimize(factor);
    parallel_for(vectors, grain, [values = values_.data(), factor](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) values[i] = values[i] * factor;
    });
  }

  Buffer<Vector> values_{vectors};
};

}  // namespace exfusion::bench
