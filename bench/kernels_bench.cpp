// The kernels on all threads. Matrix products report the part of the machine's fp32 peak that they reach;
// the peak is measured by the same program, in turns with the product, because clock rates and neighbours
// change. What only streams memory reports bytes per second: compare with the plain sum at the end.

#include <algorithm>
#include <chrono>
#include <vector>

#include <benchmark/benchmark.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/cross_entropy.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/layer_norm.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> random_numbers(Index count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  Rng(1).fill_normal(std::span<float>(values), 0.0, 1.0);
  return values;
}

/// Multiply-adds in one pass of `multiply_in_registers`.
constexpr Index register_steps = 50'000;
constexpr int chains = 12;  // independent ones: enough to hide the latency of a multiply-add

[[gnu::noinline]] float multiply_in_registers(float factor) {
  using Vector = Simd<float>::Vector;
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

/// fp32 operations per second of all threads that keep to their registers. Each takes its own time, so that
/// waiting for a thread that was not scheduled does not count.
double peak_rate() {
  constexpr double operations = 2.0 * chains * Simd<float>::lanes * register_steps;
  double rate = 0;
#pragma omp parallel reduction(+ : rate)
  {
    float factor = 0.5F;
    benchmark::DoNotOptimize(factor);
    const double start = now();
    benchmark::DoNotOptimize(multiply_in_registers(factor));
    rate += operations / (now() - start);
  }
  return rate;
}

/// Reports the best pass's rate and its part of the best peak measured in between.
template <class Product>
void measure_product(benchmark::State& state, double operations, const Product& product) {
  double best_rate = 0, best_peak = 0;
  product();
  for (auto _ : state) {
    best_peak = std::max(best_peak, peak_rate());
    const double start = now();
    product();
    const double seconds = now() - start;
    best_rate = std::max(best_rate, operations / seconds);
    state.SetIterationTime(seconds);
  }
  state.counters["GFLOP/s"] = best_rate / 1e9;
  state.counters["peak"] = best_peak / 1e9;
  state.counters["percent"] = 100 * best_rate / best_peak;
}

enum class Form { forward, input_gradient, weight_gradient };

void gemm(benchmark::State& state, Form form) {
  const Index tokens = state.range(0), out = state.range(1), in = state.range(2);
  auto x = random_numbers(tokens * in), weight = random_numbers(out * in), y = random_numbers(tokens * out);
  const auto read = [](const std::vector<float>& values, Index rows, Index columns) {
    return dense_matrix<const float>(values.data(), rows, columns);
  };
  measure_product(state, 2.0 * static_cast<double>(tokens * out * in), [&] {
    if (form == Form::forward) {
      Gemm<float>::multiply(read(x, tokens, in), read(weight, out, in).transposed(),
                            dense_matrix(y.data(), tokens, out), false);
    } else if (form == Form::input_gradient) {
      Gemm<float>::multiply(read(y, tokens, out), read(weight, out, in), dense_matrix(x.data(), tokens, in),
                            false);
    } else {
      Gemm<float>::multiply(read(y, tokens, out).transposed(), read(x, tokens, in),
                            dense_matrix(weight.data(), out, in), false);
    }
  });
}

void gemm_shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"tokens", "out", "in"})->UseManualTime()->Unit(benchmark::kMillisecond);
  for (const auto& shape : std::vector<std::vector<Index>>{{1024, 768, 768},
                                                           {1024, 3072, 768},
                                                           {1024, 768, 3072},
                                                           {4096, 3072, 768},
                                                           {256, 1536, 384},
                                                           {4096, 384, 1536},
                                                           {2048, 512, 128}}) {
    bench->Args(shape);
  }
}

void attention(benchmark::State& state, bool backward) {
  const AttentionSizes sizes{.batch = 16, .tokens = state.range(0), .heads = 6, .d_head = 64, .causal = true};
  const Index rows = sizes.batch * sizes.tokens, width = sizes.d_model();
  const auto qkv = random_numbers(rows * 3 * width), dy = random_numbers(rows * width);
  auto y = random_numbers(rows * width), dqkv = qkv, log_sum_exp = random_numbers(rows * sizes.heads);
  Attention<float>::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes);
  const double pairs = static_cast<double>(rows * (sizes.tokens + 1)) / 2;  // of a query and a key it may see
  const double products = backward ? 5 : 2;
  measure_product(state, products * 2 * pairs * static_cast<double>(width), [&] {
    if (backward) {
      Attention<float>::backward(qkv.data(), y.data(), log_sum_exp.data(), dy.data(), {dqkv.data(), false},
                                 sizes);
    } else {
      Attention<float>::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes);
    }
  });
}

void sum_rows(benchmark::State& state) {
  const Index rows = state.range(0), columns = state.range(1);
  const auto x = random_numbers(rows * columns);
  std::vector<float> sum(static_cast<std::size_t>(columns));
  for (auto _ : state) Reduce<float>::sum_rows(x.data(), rows, columns, 1.0F, {sum.data(), false});
  state.SetBytesProcessed(state.iterations() * 4 * rows * columns);
}

constexpr Index rows = 4096, width = 384, hidden = 4 * width;

void gelu_forward(benchmark::State& state, GeluForm form) {
  const auto x = random_numbers(rows * hidden);
  auto y = x;
  for (auto _ : state) Gelu<float>::forward(x.data(), y.data(), rows * hidden, form);
  state.SetBytesProcessed(state.iterations() * 8 * rows * hidden);
}

void gelu_backward(benchmark::State& state, GeluForm form) {
  const auto x = random_numbers(rows * hidden);
  auto dx = x;
  for (auto _ : state) Gelu<float>::backward(x.data(), x.data(), {dx.data(), false}, rows * hidden, form);
  state.SetBytesProcessed(state.iterations() * 8 * rows * hidden);
}

struct LayerNormProblem {
  std::vector<float> x = random_numbers(rows * width), y = x, dx = x, weight = random_numbers(width),
                     bias = weight, mean = random_numbers(rows), inverse_std = mean,
                     scratch = random_numbers(LayerNorm<float>::scratch_size(rows, width));
  void forward() {
    LayerNorm<float>::forward(x.data(), weight.data(), bias.data(), rows, width, 1e-5F, y.data(), mean.data(),
                              inverse_std.data());
  }
};

void layer_norm_forward(benchmark::State& state) {
  LayerNormProblem problem;
  for (auto _ : state) problem.forward();
  state.SetBytesProcessed(state.iterations() * 8 * rows * width);
}

void layer_norm_backward(benchmark::State& state) {
  LayerNormProblem problem;
  problem.forward();
  std::vector<float> dweight = problem.weight, dbias = problem.weight;
  for (auto _ : state) {
    LayerNorm<float>::backward(problem.x.data(), problem.weight.data(), problem.mean.data(),
                               problem.inverse_std.data(), problem.y.data(), rows, width,
                               {{problem.dx.data(), false}, {dweight.data(), false}, {dbias.data(), false}},
                               problem.scratch.data());
  }
  state.SetBytesProcessed(state.iterations() * 12 * rows * width);
}

void cross_entropy(benchmark::State& state) {
  const Index classes = state.range(0), samples = (1 << 22) / classes;
  const auto logits = random_numbers(samples * classes);
  auto gradient = logits, log_sum_exp = random_numbers(samples);
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(samples), 3);
  for (auto _ : state) {
    benchmark::DoNotOptimize(CrossEntropy<float>::forward(logits.data(), targets.data(), samples, classes, {},
                                                          log_sum_exp.data()));
    CrossEntropy<float>::backward(logits.data(), targets.data(), log_sum_exp.data(), samples, classes, {},
                                  1.0F, {gradient.data(), false});
  }
  state.SetBytesProcessed(state.iterations() * 12 * samples * classes);
}

void plain_sum(benchmark::State& state) {
  const Index size = 16 << 20;
  const auto x = random_numbers(size);
  const float* data = x.data();
  for (auto _ : state) {
    benchmark::DoNotOptimize(parallel_sum(size, [=](Index begin, Index end) {
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (Index i = begin; i < end; ++i) sum += data[i];
      return sum;
    }));
  }
  state.SetBytesProcessed(state.iterations() * 4 * size);
}

BENCHMARK_CAPTURE(gemm, forward, Form::forward)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, input_gradient, Form::input_gradient)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, weight_gradient, Form::weight_gradient)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(attention, forward, false)
    ->Arg(256)
    ->Arg(1024)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(attention, backward, true)
    ->Arg(256)
    ->Arg(1024)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(sum_rows)
    ->Args({4096, 384})
    ->Args({4096, 1536})
    ->Args({1024, 3072})
    ->Args({65536, 65})
    ->UseRealTime();
BENCHMARK_CAPTURE(gelu_forward, tanh, GeluForm::tanh)->UseRealTime();
BENCHMARK_CAPTURE(gelu_forward, erf, GeluForm::erf)->UseRealTime();
BENCHMARK_CAPTURE(gelu_backward, tanh, GeluForm::tanh)->UseRealTime();
BENCHMARK_CAPTURE(gelu_backward, erf, GeluForm::erf)->UseRealTime();
BENCHMARK(layer_norm_forward)->UseRealTime();
BENCHMARK(layer_norm_backward)->UseRealTime();
BENCHMARK(cross_entropy)->Arg(64)->Arg(4096)->UseRealTime();
BENCHMARK(plain_sum)->UseRealTime();

}  // namespace
}  // namespace exfusion::kernels

BENCHMARK_MAIN();
