#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <benchmark/benchmark.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/simd.hpp>

/// What the machine gives on all threads, measured by programs that compare themselves with it: clock rates
/// and neighbours change, so a peak counts only in turns with what is compared.
namespace exfusion::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace detail {

/// Multiply-adds of each chain in one pass.
inline constexpr Index register_steps = 50'000;
/// Independent chains: enough to hide the latency of a multiply-add.
inline constexpr int chains = 12;

[[gnu::noinline]] inline float multiply_in_registers(float factor) {
  using Vector = kernels::Simd<float>::Vector;
  const Vector x = factor - Vector{};
  Vector values[chains];
  for (int i = 0; i < chains; ++i) values[i] = x * static_cast<float>(i);
  for (Index step = 0; step < register_steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) values[i] = values[i] * x + x;
  }
  Vector total = {};
  for (const Vector& value : values) total += value;
  return total[0];
}

#ifdef __AVX512BF16__
/// The same with pairs of bfloat16 numbers.
[[gnu::noinline]] inline float multiply_pairs_in_registers(float factor) {
  const auto x = (__m512bh)_mm512_set1_ps(factor);
  __m512 sums[chains];
  for (int i = 0; i < chains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (Index step = 0; step < register_steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], x, x);
  }
  __m512 total = {};
  for (const __m512& sum : sums) total += sum;
  return total[0];
}
#endif

/// Operations per second of all threads in `multiply`, each step of which does so many in each lane: the best
/// of some short passes. Each thread takes its own time, so that waiting for one that was not scheduled does
/// not count.
inline double best_rate(float (*multiply)(float), double operations_per_lane) {
  const double operations = operations_per_lane * chains * kernels::Simd<float>::lanes * register_steps;
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    double rate = 0;
#pragma omp parallel reduction(+ : rate)
    {
      float factor = 0.5F;
      benchmark::DoNotOptimize(factor);
      const double start = now();
      benchmark::DoNotOptimize(multiply(factor));
      rate += operations / (now() - start);
    }
    best = std::max(best, rate);
  }
  return best;
}

}  // namespace detail

/// fp32 operations per second of all threads that keep to their registers.
inline double fp32_peak() { return detail::best_rate(detail::multiply_in_registers, 2); }

/// Operations per second on bfloat16 numbers with sums in fp32; the fp32 peak where the CPU has no
/// instruction for them.
inline double bf16_peak() {
#ifdef __AVX512BF16__
  return detail::best_rate(detail::multiply_pairs_in_registers, 4);
#else
  return fp32_peak();
#endif
}

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
