// Fusing experts and the gradient of their weights, for one feed-forward network of GPT-2's size. Both are
// bound by memory: compare bytes per second with the plain sum at the end.

#include <benchmark/benchmark.h>

#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>

namespace exfusion {
namespace {

constexpr Index d_model = 768;
constexpr Index d_ff = 3072;

ExpertSlab<float> slab_of(Index experts, FusionGranularity granularity) {
  ExpertSlab<float> slab(experts,
                         {{"up.weight", {d_ff, d_model}},
                          {"up.bias", {d_ff}},
                          {"down.weight", {d_model, d_ff}},
                          {"down.bias", {d_model}}},
                         granularity, false);
  Rng rng(1);
  rng.fill_normal(slab.weights(), 0.0, 1.0);
  for (Index i = 0; i < experts; ++i) rng.fill_normal(slab.expert(i), 0.0, 1.0);
  return slab;
}

void fuse(benchmark::State& state, FusionGranularity granularity) {
  const auto slab = slab_of(state.range(0), granularity);
  for (auto _ : state) {
    kernels::Fuse<float>::forward(slab.layout(), slab.data(), slab.weights().data(), slab.fused());
  }
  state.SetBytesProcessed(state.iterations() * 4 * (slab.experts() + 1) * slab.row_size());
}

void inner_products(benchmark::State& state, FusionGranularity granularity) {
  const auto slab = slab_of(state.range(0), granularity);
  const float* gradient = slab.gradient();
  for (auto _ : state) {
    kernels::Fuse<float>::inner_products(slab.layout(), slab.data(), slab.fused(), gradient, slab.scratch(),
                                         slab.products().data());
  }
  state.SetBytesProcessed(state.iterations() * 4 * (slab.experts() + 2) * slab.row_size());
}

void plain_sum(benchmark::State& state) {
  const auto slab = slab_of(4, FusionGranularity::layer);
  const float* x = slab.data();
  float* y = slab.data() + 2 * slab.row_size();
  const Index size = 2 * slab.row_size();
  for (auto _ : state) {
    parallel_for(size, 16384, [=](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) y[i] += x[i];
    });
  }
  state.SetBytesProcessed(state.iterations() * 12 * size);
}

BENCHMARK_CAPTURE(fuse, layer, FusionGranularity::layer)
    ->Arg(4)
    ->Arg(16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(fuse, row, FusionGranularity::row)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inner_products, layer, FusionGranularity::layer)
    ->Arg(4)
    ->Arg(16)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(inner_products, row, FusionGranularity::row)
    ->Arg(4)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(plain_sum)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace exfusion

BENCHMARK_MAIN();
