#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

constexpr Activation activations[] = {Activation::gelu_tanh, Activation::gelu_erf, Activation::swiglu};

/// Expert e of a mixture as a feed-forward network.
template <Scalar T>
FeedForwardWeights<T> expert(const SparseMoE<T>& moe, Index e) {
  const auto slice = [e](const Parameter<T>& stack) {
    if (!stack) return Tensor<T>();
    const Shape& shape = stack.shape();
    const Shape one = shape.rank() == 3 ? Shape{shape[1], shape[2]} : Shape{shape[1]};
    return Tensor<T>(stack.data() + e * one.size(), one);
  };
  return {slice(moe.gate.weight), slice(moe.gate.bias),   slice(moe.up.weight),
          slice(moe.up.bias),     slice(moe.down.weight), slice(moe.down.bias)};
}

/// Token by token and expert by expert, from the definition.
template <Scalar T>
std::vector<double> naive(const SparseMoE<T>& moe, const Tensor<T>& x) {
  const Context<T> ctx;
  const Index d = x.shape().columns(), experts = moe.experts();
  std::vector<double> result(static_cast<std::size_t>(x.size()), 0.0);
  for (Index token = 0; token < x.shape().rows(); ++token) {
    const Tensor<T> row(x.data() + token * d, {1, d});
    const Tensor<T> z = moe.router(ctx, row);
    std::vector<double> p;
    for (T value : z.values()) p.push_back(std::exp(static_cast<double>(value)));
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    std::vector<Index> order(static_cast<std::size_t>(experts));
    std::iota(order.begin(), order.end(), Index{0});
    std::ranges::stable_sort(order, std::greater<>{}, [&](Index e) { return z.data()[e]; });
    double chosen = 0;
    for (Index slot = 0; slot < moe.k; ++slot)
      chosen += p[static_cast<std::size_t>(order[static_cast<std::size_t>(slot)])];
    for (Index slot = 0; slot < moe.k; ++slot) {
      const Index e = order[static_cast<std::size_t>(slot)];
      const double gate = p[static_cast<std::size_t>(e)] / (moe.k == 1 ? sum : chosen);
      const Tensor<T> y = feed_forward(ctx, row, expert(moe, e), moe.activation);
      for (Index c = 0; c < d; ++c)
        result[static_cast<std::size_t>(token * d + c)] += gate * static_cast<double>(y.data()[c]);
    }
  }
  return result;
}

template <Scalar T>
void expect_naive(double tolerance) {
  Rng rng(3);
  for (Activation activation : activations) {
    for (Index experts : {1, 3, 8, 128}) {
      for (Index k : {Index{1}, std::min<Index>(2, experts), std::min<Index>(7, experts)}) {
        const SparseMoE<T> moe({.d_model = 17, .d_ff = 7, .activation = activation, .init_std = 0.5},
                               {.experts = experts, .k = k, .router_std = 1.0}, rng);
        const auto x = Tensor<T>::empty({2, 33, 17});
        rng.fill_normal(x.values(), 0.0, 1.0);
        const auto expected = naive(moe, x);
        const auto y = moe(Context<T>{}, x);
        ASSERT_EQ(y.shape(), x.shape());
        for (std::size_t i = 0; i < expected.size(); ++i) {
          ASSERT_NEAR(static_cast<double>(y.values()[i]), expected[i], tolerance)
              << experts << " experts, k = " << k << ", element " << i;
        }
      }
    }
  }
}

TEST(SparseMoE, EqualsTheNaiveLoopOverTokensInDouble) { expect_naive<double>(1e-13); }
TEST(SparseMoE, EqualsTheNaiveLoopOverTokensInFloat) { expect_naive<float>(1e-5); }

TEST(SparseMoE, GradientsOfExpertsRouterAndBalanceLossMatchDifferences) {
  Rng rng(4);
  for (Activation activation : activations) {
    for (Index size : {1, 3, 7, 17}) {
      for (Index k : {1, 2}) {
        const SparseMoE<double> moe({.d_model = 3, .d_ff = 3, .activation = activation, .init_std = 0.5},
                                    {.experts = 3, .k = k, .balance = 0.3, .router_std = 1.0}, rng);
        const auto x = Parameter<double>::normal({size, 3}, 1.0, rng);
        const auto result =
            testing::grad_check([&](const Context<double>& ctx) { return moe(ctx, x); }, moe, {x});
        EXPECT_TRUE(result) << "size " << size << ", k = " << k << ": " << result;
      }
    }
  }
}

TEST(SparseMoE, TheBalanceLossIsAddedInTrainingOnly) {
  Rng rng(5);
  const SparseMoE<float> moe({.d_model = 4, .d_ff = 8}, {.experts = 4, .k = 1, .balance = 0.01}, rng);
  const auto x = Tensor<float>::zeros({16, 4});  // every expert is equally probable
  Tape<float> tape;
  moe(Context<float>{.tape = &tape, .training = true}, x);
  EXPECT_FLOAT_EQ(tape.added_loss(), 0.01F);
  tape.clear();
  moe(Context<float>{.tape = &tape}, x);
  EXPECT_EQ(tape.added_loss(), 0.0F);
}

TEST(SparseMoE, CopiesOfADenseNetworkComputeWhatItComputes) {
  Rng rng(6);
  for (Activation activation : activations) {
    const FeedForward<double> dense({.d_model = 7, .d_ff = 17, .activation = activation}, rng);
    const SparseMoE<double> moe(dense, {.experts = 5, .k = 3, .router_std = 1.0}, rng);
    const auto x = Parameter<double>::normal({3, 7}, 1.0, rng);
    const auto expected = dense(Context<double>{}, x), y = moe(Context<double>{}, x);
    for (Index i = 0; i < y.size(); ++i) EXPECT_NEAR(y.data()[i], expected.data()[i], 1e-14);
    EXPECT_NE(moe.up.weight.data(), dense.up.weight.data());
  }
}

TEST(SparseMoE, FreshExpertsDifferAndBiasesDoNotDecay) {
  Rng rng(7);
  const SparseMoE<float> moe({.d_model = 4, .d_ff = 8, .activation = Activation::swiglu}, {.experts = 2},
                             rng);
  for (const auto& [name, tensor, options] : collect_parameters<float>(moe).parameters) {
    const bool is_bias = name.ends_with("bias");
    EXPECT_EQ(options.decay, !is_bias) << name;
    const auto half = static_cast<std::size_t>(tensor.size() / 2);
    EXPECT_EQ(std::ranges::equal(tensor.values().first(half), tensor.values().last(half)), is_bias) << name;
  }
}

TEST(SparseMoE, ResultsAndGradientsDoNotDependOnTheNumberOfThreads) {
  Rng rng(8);
  const SparseMoE<float> moe({.d_model = 48, .d_ff = 96}, {.experts = 8, .router_std = 0.5}, rng);
  const auto x = Parameter<float>::normal({300, 48}, 1.0, rng);
  const auto seed = Parameter<float>::normal({1, 300 * 48}, 1.0, rng);
  const int threads_before = omp_get_max_threads();
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    Tape<float> tape;
    const Context<float> ctx{.tape = &tape, .training = true};
    const auto y = moe(ctx, x);
    tape.backward(ops::linear(ctx, y.reshape({1, y.size()}), seed));
    std::vector<std::vector<float>> results{{y.values().begin(), y.values().end()}};
    results.emplace_back(x.grad().begin(), x.grad().end());
    const auto list = collect_parameters<float>(moe);
    for (const auto& parameter : list.parameters) {
      results.emplace_back(parameter.tensor.grad().begin(), parameter.tensor.grad().end());
    }
    if (first.empty()) first = results;
    EXPECT_EQ(results, first) << threads << " threads";
    tape.clear();
    list.discard_gradients();
    x.gradient()->clear();
  }
  omp_set_num_threads(threads_before);
}

TEST(SparseMoE, ATokensAnswerDependsOnThatTokenAlone) {
  Rng rng(9);
  const SparseMoE<float> moe({.d_model = 16, .d_ff = 32}, {.experts = 4, .router_std = 1.0}, rng);
  const auto x = Parameter<float>::normal({20, 16}, 1.0, rng);
  const auto before = moe(Context<float>{}, x);
  for (Index c = 0; c < 16; ++c) x.data()[7 * 16 + c] += 3;
  const auto after = moe(Context<float>{}, x);
  for (Index i = 0; i < x.size(); ++i) {
    if (i / 16 == 7) continue;
    EXPECT_EQ(before.data()[i], after.data()[i]) << "token " << i / 16;
  }
}

TEST(SparseMoE, NamesTheOptionAndItsLimit) {
  Rng rng(10);
  const auto build = [&](SparseMoEOptions options) {
    SparseMoE<float>({.d_model = 4, .d_ff = 8}, options, rng);
  };
  EXPECT_THROW(build({.experts = 0}), ConfigError);
  EXPECT_THROW(build({.experts = -1}), ConfigError);
  EXPECT_THROW(build({.experts = 4, .k = 0}), ConfigError);
  EXPECT_THROW(build({.experts = 4, .k = 1, .balance = -1}), ConfigError);
  EXPECT_THROW(build({.experts = 4, .k = 1, .balance = std::nan("")}), ConfigError);
  EXPECT_THROW(build({.experts = 4, .k = 1, .router_std = -1}), ConfigError);
  EXPECT_THROW(build({.experts = 4, .k = 1, .router_std = INFINITY}), ConfigError);
  EXPECT_THROW(build({.experts = Index{1} << 60, .k = 1}), ConfigError);
  EXPECT_NO_THROW(build({.experts = 1, .k = 1}));
  try {
    build({.experts = 4, .k = 5});
    FAIL() << "more choices than experts were accepted";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[sparse_moe] k = 5: it must be between 1 and the number of experts, 4");
  }
  const SparseMoE<float> moe({.d_model = 4, .d_ff = 8}, {.experts = 4}, rng);
  EXPECT_THROW(moe(Context<float>{}, Tensor<float>::zeros({2, 5})), ShapeError);
}

}  // namespace
}  // namespace exfusion
