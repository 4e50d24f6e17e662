// What streams activations once: normalisation, activation, sums of rows, the loss of given logits.

#include <cstdint>
#include <vector>

#include <exfusion/kernels/cross_entropy.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/layer_norm.hpp>
#include <exfusion/kernels/reduce.hpp>

#include "measure.hpp"

namespace exfusion::bench {
namespace {

using kernels::LayerNorm;

constexpr Index rows = 4096, width = 384, hidden = 4 * width;

Traffic traffic(Index count, int arrays_read, int arrays_written) {
  const double bytes = 4.0 * static_cast<double>(count);
  return {bytes * arrays_read, bytes * arrays_written};
}

void gelu_forward(benchmark::State& state, GeluForm form) {
  const auto x = random_numbers(rows * hidden);
  auto y = x;
  measure_bytes(state, traffic(rows * hidden, 1, 1),
                [&] { kernels::Gelu<float>::forward(x.data(), y.data(), rows * hidden, form); });
}

void gelu_backward(benchmark::State& state, GeluForm form) {
  const auto x = random_numbers(rows * hidden), dy = x;
  auto dx = x;
  measure_bytes(state, traffic(rows * hidden, 2, 1), [&] {
    kernels::Gelu<float>::backward(x.data(), dy.data(), {dx.data(), false}, rows * hidden, form);
  });
}

BENCHMARK_CAPTURE(gelu_forward, tanh, GeluForm::tanh)->Apply(in_passes);
BENCHMARK_CAPTURE(gelu_forward, erf, GeluForm::erf)->Apply(in_passes);
BENCHMARK_CAPTURE(gelu_backward, tanh, GeluForm::tanh)->Apply(in_passes);
BENCHMARK_CAPTURE(gelu_backward, erf, GeluForm::erf)->Apply(in_passes);

struct LayerNormProblem {
  Buffer<float> x = random_numbers(rows * width), y = x, dx = x, weight = random_numbers(width),
                bias = weight, mean = random_numbers(rows), inverse_std = mean,
                scratch = random_numbers(LayerNorm<float>::scratch_size(rows, width));
  void forward() {
    LayerNorm<float>::forward(x.data(), weight.data(), bias.data(), rows, width, 1e-5F, y.data(), mean.data(),
                              inverse_std.data());
  }
};

void layer_norm_forward(benchmark::State& state) {
  LayerNormProblem problem;
  measure_bytes(state, traffic(rows * width, 1, 1), [&] { problem.forward(); });
}

void layer_norm_backward(benchmark::State& state) {
  LayerNormProblem problem;
  problem.forward();
  Buffer<float> dweight = problem.weight, dbias = problem.weight;
  measure_bytes(state, traffic(rows * width, 2, 1), [&] {
    LayerNorm<float>::backward(problem.x.data(), problem.weight.data(), problem.mean.data(),
                               problem.inverse_std.data(), problem.y.data(), rows, width,
                               {{problem.dx.data(), false}, {dweight.data(), false}, {dbias.data(), false}},
                               problem.scratch.data());
  });
}

BENCHMARK(layer_norm_forward)->Apply(in_passes);
BENCHMARK(layer_norm_backward)->Apply(in_passes);

/// Of logits that stand in memory, forward and backward.
void cross_entropy(benchmark::State& state) {
  const Index classes = state.range(0), samples = (Index{1} << 23) / classes;
  const auto logits = random_numbers(samples * classes);
  auto gradient = logits, log_sum_exp = random_numbers(samples);
  const std::vector<std::int32_t> targets(static_cast<std::size_t>(samples), 3);
  measure_bytes(state, traffic(samples * classes, 2, 1), [&] {
    using kernels::CrossEntropy;
    benchmark::DoNotOptimize(CrossEntropy<float>::forward(logits.data(), targets.data(), samples, classes, {},
                                                          log_sum_exp.data()));
    CrossEntropy<float>::backward(logits.data(), targets.data(), log_sum_exp.data(), samples, classes, {},
                                  1.0F, {gradient.data(), false});
  });
}

BENCHMARK(cross_entropy)->Apply(in_passes)->ArgName("classes")->Arg(65)->Arg(50257);

void sum_rows(benchmark::State& state) {
  const Index count = state.range(0), columns = state.range(1);
  const auto x = random_numbers(count * columns);
  Buffer<float> sum(columns);
  measure_bytes(state, traffic(count * columns, 1, 0), [&] {
    kernels::Reduce<float>::sum_rows(x.data(), count, columns, 1.0F, {sum.data(), false});
  });
}

BENCHMARK(sum_rows)
    ->Apply(in_passes)
    ->ArgNames({"rows", "columns"})
    ->Args({4096, 384})
    ->Args({4096, 1536})
    ->Args({65536, 65});

}  // namespace
}  // namespace exfusion::bench
