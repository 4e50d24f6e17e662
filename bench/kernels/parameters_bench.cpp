// What streams parameters: fusing experts, the gradient of their weights, optimizers, the gradient's norm.

#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/optim/sgd.hpp>

#include "measure.hpp"

namespace exfusion::bench {
namespace {

constexpr Index d_model = 768;
constexpr Index d_ff = 3072;

/// E experts of one feed-forward network of GPT-2's size.
struct FusedModel {
  ExpertSlab<float> slab;

  explicit FusedModel(Index experts, FusionGranularity granularity = FusionGranularity::layer,
                      bool constant_weights = false)
      : slab(experts,
             {{"up.weight", {d_ff, d_model}},
              {"up.bias", {d_ff}},
              {"down.weight", {d_model, d_ff}},
              {"down.bias", {d_model}}},
             granularity, constant_weights) {
    Rng rng(1);
    std::ranges::fill(slab.weights(), 1.0F / static_cast<float>(experts));
    for (Index i = 0; i < experts; ++i) rng.fill_normal(slab.expert(i), 0.0, 1.0);
  }
  static void fields(auto& self, auto&& visit) { visit("experts", self.slab); }

  /// Traffic of a pass over so many times E P numbers and so many times P.
  Traffic traffic(Index read_rows, Index written_rows) const {
    const double row = 4.0 * static_cast<double>(slab.row_size());
    return {row * static_cast<double>(read_rows), row * static_cast<double>(written_rows)};
  }
};

void fuse(benchmark::State& state, FusionGranularity granularity) {
  const FusedModel model(state.range(0), granularity);
  const auto& slab = model.slab;
  measure_bytes(state, model.traffic(slab.experts(), 1), [&] {
    kernels::Fuse<float>::forward(slab.layout(), slab.data(), slab.weights().data(), slab.fused());
  });
}

/// dL/da.
void weight_gradient(benchmark::State& state, FusionGranularity granularity) {
  const FusedModel model(state.range(0), granularity);
  const auto& slab = model.slab;
  const float* gradient = slab.gradient();
  measure_bytes(state, model.traffic(slab.experts() + 1, 0), [&] {
    kernels::Fuse<float>::inner_products(slab.layout(), slab.data(), slab.data(), gradient, slab.scratch(),
                                         slab.products().data());
  });
}

void some_experts(benchmark::internal::Benchmark* bench) {
  bench->Apply(in_passes)->ArgName("experts")->Arg(4)->Arg(8)->Arg(16);
}

BENCHMARK_CAPTURE(fuse, layer, FusionGranularity::layer)->Apply(some_experts);
BENCHMARK_CAPTURE(fuse, row, FusionGranularity::row)->Apply(in_passes)->ArgName("experts")->Arg(4);
BENCHMARK_CAPTURE(weight_gradient, layer, FusionGranularity::layer)->Apply(some_experts);
BENCHMARK_CAPTURE(weight_gradient, row, FusionGranularity::row)->Apply(in_passes)->ArgName("experts")->Arg(4);

struct DenseModel {
  static constexpr Index size = Index{16} << 20;
  Parameter<float> weight = Parameter<float>::constant({4096, size / 4096}, 0.1F);

  DenseModel() { std::fill_n(weight.gradient()->data, size, 1.0F); }
  static void fields(auto& self, auto&& visit) { visit("weight", self.weight); }

  static Traffic traffic(int read, int written) { return {4.0 * size * read, 4.0 * size * written}; }
};

void define_gradients(const ParameterList<float>& list) {
  for (const auto& parameter : list.parameters) parameter.tensor.gradient()->defined = true;
  for (const auto& [name, slab] : list.slabs) slab.gradient();
}

template <class Optimizer>
void measure_steps(benchmark::State& state, Optimizer optimizer, const Traffic& traffic) {
  measure_bytes(state, traffic, [&] {
    define_gradients(optimizer.parameters());
    optimizer.step();
  });
}

void adamw_dense(benchmark::State& state) {
  const DenseModel model;
  measure_steps(state, AdamW<float>(model), DenseModel::traffic(4, 3));
}

void adamw_experts(benchmark::State& state) {
  const Index experts = state.range(0);
  const FusedModel model(experts);
  measure_steps(state, AdamW<float>(model), model.traffic(3 * experts + 1, 3 * experts));
}

/// One state for all experts.
void adamw_constant_experts(benchmark::State& state) {
  const Index experts = state.range(0);
  const FusedModel model(experts, FusionGranularity::layer, true);
  measure_steps(state, AdamW<float>(model), model.traffic(experts + 3, experts + 2));
}

void sgd_momentum_dense(benchmark::State& state) {
  const DenseModel model;
  measure_steps(state, Sgd<float>(model, {.momentum = 0.9}), DenseModel::traffic(3, 2));
}

void gradient_norm(benchmark::State& state) {
  const DenseModel model;
  const auto list = collect_parameters<float>(model);
  define_gradients(list);
  measure_bytes(state, DenseModel::traffic(1, 0),
                [&] { benchmark::DoNotOptimize(exfusion::gradient_norm(list)); });
}

BENCHMARK(adamw_dense)->Apply(in_passes);
BENCHMARK(adamw_experts)->Apply(some_experts);
BENCHMARK(adamw_constant_experts)->Apply(some_experts);
BENCHMARK(sgd_momentum_dense)->Apply(in_passes);
BENCHMARK(gradient_norm)->Apply(in_passes);

}  // namespace
}  // namespace exfusion::bench
