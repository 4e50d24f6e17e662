// What is bound by arithmetic: matrix products, attention, the output layer with its loss.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/gemm_grid.hpp>
#include <exfusion/kernels/gemm_tile.hpp>
#include <exfusion/ops/linear_cross_entropy.hpp>

#include "measure.hpp"

namespace exfusion::bench {
namespace {

using kernels::dense_matrix;

template <class Number>
Buffer<Number> numbers(Index count) {
  Buffer<float> values = random_numbers(count);
  if constexpr (std::is_same_v<Number, float>) {
    return values;
  } else {
    Buffer<Number> rounded(count);
    std::ranges::transform(values.span(), rounded.data(), Number::from);
    return rounded;
  }
}

enum class Form { forward, input_gradient, weight_gradient };

using Operand = kernels::Operand<float>;

/// The product that the library takes.
struct ChosenProduct {
  static void multiply(const Operand& a, const Operand& b, kernels::MatrixView<float> c) {
    kernels::Gemm<float>::multiply(a, b, c, false);
  }
};

/// Its own fp32 product, also where oneDNN takes over.
struct OwnProduct {
  static void multiply(const Operand& a, const Operand& b, kernels::MatrixView<float> c) {
    using Tile =
        kernels::detail::BlockedTile<kernels::detail::GemmMicroKernel<kernels::detail::PlainNumbers<float>>>;
    kernels::detail::GemmGrid<Tile>::multiply(a.exact, b.exact, c, {});
  }
};

/// y = x W^T and its gradients; operands are `Number`s, results float.
template <class Number, class Product>
void run_gemm(benchmark::State& state, Form form, double (*peak)()) {
  const Index tokens = state.range(0), out = state.range(1), in = state.range(2);
  const auto x = numbers<Number>(tokens * in), weight = numbers<Number>(out * in),
             y = numbers<Number>(tokens * out);
  auto result = random_numbers(std::max({tokens * in, out * in, tokens * out}));
  const auto read = [](const Buffer<Number>& values, Index rows, Index columns) {
    if constexpr (std::is_same_v<Number, float>) {
      return Operand(values.data(), nullptr, rows, columns);
    } else {
      return Operand(nullptr, values.data(), rows, columns);
    }
  };
  const auto written = [&](Index rows, Index columns) { return dense_matrix(result.data(), rows, columns); };
  const auto product = [&] {
    if (form == Form::forward) {
      Product::multiply(read(x, tokens, in), read(weight, out, in).transposed(), written(tokens, out));
    } else if (form == Form::input_gradient) {
      Product::multiply(read(y, tokens, out), read(weight, out, in), written(tokens, in));
    } else {
      Product::multiply(read(y, tokens, out).transposed(), read(x, tokens, in), written(out, in));
    }
  };
  measure_operations(state, 2.0 * static_cast<double>(tokens * out * in), product, peak);
}

void gemm(benchmark::State& state, Form form) { run_gemm<float, ChosenProduct>(state, form, fp32_peak); }
[[maybe_unused]] void gemm_own(benchmark::State& state, Form form) {
  run_gemm<float, OwnProduct>(state, form, fp32_peak);
}
void gemm_bf16(benchmark::State& state, Form form) {
  run_gemm<Bfloat16, ChosenProduct>(state, form, bf16_peak);
}

void gemm_shapes(benchmark::internal::Benchmark* bench) {
  bench->Apply(in_passes)->ArgNames({"tokens", "out", "in"});
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

BENCHMARK_CAPTURE(gemm, forward, Form::forward)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, input_gradient, Form::input_gradient)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm, weight_gradient, Form::weight_gradient)->Apply(gemm_shapes);
#ifdef EXFUSION_ONEDNN
BENCHMARK_CAPTURE(gemm_own, forward, Form::forward)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm_own, input_gradient, Form::input_gradient)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm_own, weight_gradient, Form::weight_gradient)->Apply(gemm_shapes);
#endif
BENCHMARK_CAPTURE(gemm_bf16, forward, Form::forward)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm_bf16, input_gradient, Form::input_gradient)->Apply(gemm_shapes);
BENCHMARK_CAPTURE(gemm_bf16, weight_gradient, Form::weight_gradient)->Apply(gemm_shapes);

enum class Pass { forward, backward, both };

/// Counts two products of [T, d_head] matrices forward and five backward, over the pairs of a query and a key
/// that it may see. All arrays but log_sum_exp hold `Number`s.
template <class Number>
void run_attention(benchmark::State& state, Pass pass, double (*peak)()) {
  using Attention = kernels::Attention<float>;
  const kernels::AttentionSizes sizes{
      .batch = 16, .tokens = state.range(0), .heads = 6, .d_head = 64, .causal = true};
  const Index rows = sizes.batch * sizes.tokens, width = sizes.d_model();
  const auto qkv = numbers<Number>(rows * 3 * width), dy = numbers<Number>(rows * width);
  auto y = numbers<Number>(rows * width), dqkv = numbers<Number>(rows * 3 * width);
  auto log_sum_exp = random_numbers(rows * sizes.heads);
  const auto forward = [&] { Attention::forward(qkv.data(), y.data(), log_sum_exp.data(), sizes); };
  const auto backward = [&] {
    if constexpr (std::is_same_v<Number, float>) {
      Attention::backward(qkv.data(), y.data(), log_sum_exp.data(), dy.data(), {dqkv.data(), false}, sizes);
    } else {
      Attention::backward(qkv.data(), y.data(), log_sum_exp.data(), dy.data(), dqkv.data(), sizes);
    }
  };
  forward();
  const double pairs = static_cast<double>(rows * (sizes.tokens + 1)) / 2;
  const double products = (pass != Pass::backward ? 2 : 0) + (pass != Pass::forward ? 5 : 0);
  const double operations = products * 2 * pairs * static_cast<double>(width);
  const auto measured = [&] {
    if (pass != Pass::backward) forward();
    if (pass != Pass::forward) backward();
  };
  measure_operations(state, operations, measured, peak);
}

void attention(benchmark::State& state, Pass pass) { run_attention<float>(state, pass, fp32_peak); }
void attention_bf16(benchmark::State& state, Pass pass) { run_attention<Bfloat16>(state, pass, bf16_peak); }

void attention_lengths(benchmark::internal::Benchmark* bench) {
  bench->Apply(in_passes)->ArgName("tokens")->Arg(256)->Arg(512)->Arg(1024);
}

BENCHMARK_CAPTURE(attention, forward, Pass::forward)->Apply(attention_lengths);
BENCHMARK_CAPTURE(attention, backward, Pass::backward)->Apply(attention_lengths);
BENCHMARK_CAPTURE(attention, both, Pass::both)->Apply(attention_lengths);
BENCHMARK_CAPTURE(attention_bf16, forward, Pass::forward)->Apply(attention_lengths);
BENCHMARK_CAPTURE(attention_bf16, backward, Pass::backward)->Apply(attention_lengths);
BENCHMARK_CAPTURE(attention_bf16, both, Pass::both)->Apply(attention_lengths);

/// GPT-2's output layer and loss, forward and backward. Counts the three products of the logits; computing
/// them again, where not all fit at once, is the operation's own business.
void linear_cross_entropy(benchmark::State& state) {
  constexpr Index d_model = 768, vocabulary = 50257;
  const Index rows = state.range(0);
  Rng rng(1);
  const auto x = Parameter<float>::normal({rows, d_model}, 1.0, rng);
  const auto weight = Parameter<float>::normal({vocabulary, d_model}, 0.02, rng);
  IntTensor targets({rows});
  for (auto& target : targets.values()) target = static_cast<std::int32_t>(rng.below(vocabulary));
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape, .training = true};
  measure_operations(state, 6.0 * static_cast<double>(rows * d_model * vocabulary), [&] {
    tape.backward(ops::linear_cross_entropy(ctx, x, weight, targets));
    tape.clear();
    x.gradient()->clear();
    weight.gradient()->clear();
  });
}

BENCHMARK(linear_cross_entropy)->Apply(in_passes)->ArgName("tokens")->Arg(256)->Arg(1024);

}  // namespace
}  // namespace exfusion::bench
