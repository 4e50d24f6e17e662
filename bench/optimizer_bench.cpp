// The optimizers' passes. They are bound by memory: compare bytes per second with the plain sum at the end.

#include <benchmark/benchmark.h>

#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/optim/sgd.hpp>

namespace exfusion {
namespace {

constexpr Index dense_size = 16 << 20;
constexpr Index experts = 4;

struct DenseModel {
  Parameter<float> weight = Parameter<float>::constant({4096, dense_size / 4096}, 0.1F);
  DenseModel() { std::fill_n(weight.gradient()->data, dense_size, 1.0F); }
  static void fields(auto& self, auto&& visit) { visit("weight", self.weight); }
};

/// Experts of as many numbers as DenseModel.
struct FusedModel {
  ExpertSlab<float> slab;
  explicit FusedModel(bool constant_weights)
      : slab(experts, {{"weight", {4096, dense_size / experts / 4096 + 17}, true}}, FusionGranularity::layer,
             constant_weights) {
    std::ranges::fill(slab.weights(), 0.25F);
  }
  static void fields(auto& self, auto&& visit) { visit("experts", self.slab); }
};

void define_gradients(const ParameterList<float>& list) {
  for (const auto& parameter : list.parameters) parameter.tensor.gradient()->defined = true;
  for (const auto& [name, slab] : list.slabs) slab.gradient();
}

template <class Optimizer>
void run_steps(benchmark::State& state, Optimizer optimizer, Index bytes) {
  for (auto _ : state) {
    define_gradients(optimizer.parameters());
    optimizer.step();
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

void adamw_dense(benchmark::State& state) {
  const DenseModel model;
  run_steps(state, AdamW<float>(model), 28 * dense_size);
}

void adamw_experts(benchmark::State& state) {
  const FusedModel model(false);
  run_steps(state, AdamW<float>(model), (24 * experts + 4) * model.slab.row_size());
}

void adamw_constant_experts(benchmark::State& state) {
  const FusedModel model(true);
  run_steps(state, AdamW<float>(model), (8 * experts + 20) * model.slab.row_size());
}

void sgd_momentum_dense(benchmark::State& state) {
  const DenseModel model;
  run_steps(state, Sgd<float>(model, {.momentum = 0.9}), 20 * dense_size);
}

void clip(benchmark::State& state) {
  const DenseModel model;
  const auto list = collect_parameters<float>(model);
  define_gradients(list);
  double limit = 1000;
  for (auto _ : state) clip_gradient_norm(list, limit *= 0.999);
  state.SetBytesProcessed(state.iterations() * 12 * dense_size);
}

void plain_sum(benchmark::State& state) {
  const DenseModel model;
  float* x = model.weight.data();
  float* y = model.weight.gradient()->data;
  for (auto _ : state) {
    parallel_for(dense_size, 16384, [=](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) y[i] += x[i];
    });
  }
  state.SetBytesProcessed(state.iterations() * 12 * dense_size);
}

BENCHMARK(adamw_dense)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(adamw_experts)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(adamw_constant_experts)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(sgd_momentum_dense)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(clip)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(plain_sum)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace exfusion

BENCHMARK_MAIN();
