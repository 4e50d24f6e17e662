// Attention between two linear operations, against the three operations one after the other.

#include <cmath>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/ops/attention.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/ops/self_attention.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

using testing::expect_close, testing::random_values, testing::rounded, testing::run_backward;

/// d_in, d_model and d_out may all differ.
struct Layer {
  static constexpr Index heads = 2;
  Index d_in, d_head, d_out;
  Parameter<double> x, qkv_weight, qkv_bias, projection_weight, projection_bias;

  Layer(Index batch, Index tokens, Index in, Index head, Index out, Rng& rng)
      : d_in(in),
        d_head(head),
        d_out(out),
        x(Parameter<double>::normal({batch, tokens, in}, 1.0, rng)),
        qkv_weight(Parameter<double>::normal({3 * heads * head, in}, 0.5, rng)),
        qkv_bias(Parameter<double>::normal({3 * heads * head}, 1.0, rng)),
        projection_weight(Parameter<double>::normal({out, heads * head}, 1.0, rng)),
        projection_bias(Parameter<double>::normal({out}, 1.0, rng)) {}

  Tensor<double> operator()(const Context<double>& ctx, bool causal) const {
    return self_attention(ctx, x, qkv_weight, qkv_bias, projection_weight, projection_bias, heads, causal);
  }
  std::vector<const Parameter<double>*> parameters() const {
    return {&x, &qkv_weight, &qkv_bias, &projection_weight, &projection_bias};
  }
};

TEST(SelfAttention, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 17}) {
      for (Index size : {1, 3, 7}) {
        const Layer layer(2, tokens, size, size, size + 1, rng);
        const auto result = testing::grad_check(
            [&](const Context<double>& ctx) { return layer(ctx, causal); },
            {layer.x, layer.qkv_weight, layer.qkv_bias, layer.projection_weight, layer.projection_bias});
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

/// dqkv as the kernel computes it from what has been rounded, the gradient of its result too.
std::vector<double> gradient_of_qkv(const Tensor<double>& qkv, const Tensor<double>& attended, bool causal) {
  const kernels::AttentionSizes sizes = ops::attention_sizes(qkv.shape(), Layer::heads, causal);
  std::vector<double> unused(static_cast<std::size_t>(attended.size())),
      log_sum_exp(static_cast<std::size_t>(sizes.batch * sizes.heads * sizes.tokens)),
      dqkv(static_cast<std::size_t>(qkv.size()));
  kernels::Attention<double>::forward(qkv.data(), unused.data(), log_sum_exp.data(), sizes);
  const std::vector<double> dattended = rounded(attended.grad());
  kernels::Attention<double>::backward(qkv.data(), attended.data(), log_sum_exp.data(), dattended.data(),
                                       {dqkv.data(), false}, sizes);
  return dqkv;
}

/// Sums over the rows of a matrix with as many columns as `sums`.
void expect_sums(std::span<const double> sums, std::span<const double> matrix, double tolerance) {
  for (std::size_t column = 0; column < sums.size(); ++column) {
    double sum = 0;
    for (std::size_t i = column; i < matrix.size(); i += sums.size()) sum += matrix[i];
    EXPECT_NEAR(sums[column], sum, tolerance * (1 + std::abs(sum)));
  }
}

TEST(SelfAttention, RoundsWhatLiesBetweenTheProductsInBf16) {
  Rng rng(2);
  for (bool causal : {false, true}) {
    for (Index tokens : {0, 1, 3, 17, 230}) {
      const Layer layer(2, tokens, 5, 7, 3, rng);
      const auto dy = random_values<double>(layer.x.shape().rows() * layer.d_out, rng);
      const auto y = run_backward<double>([&](const auto& ctx) { return layer(ctx, causal); }, dy, nullptr,
                                          Precision::bf16);

      const auto x = rounded(layer.x), qkv_weight = rounded(layer.qkv_weight);
      const auto projection_weight = rounded(layer.projection_weight);
      const Parameter<double> qkv = rounded(linear(Context<double>{}, x, qkv_weight, layer.qkv_bias));
      const Parameter<double> attended =
          rounded(ops::attention(Context<double>{}, qkv, Layer::heads, causal));
      const auto expected = run_backward<double>(
          [&](const auto& ctx) {
            return linear(ctx, attended, projection_weight, layer.projection_bias.detach());
          },
          rounded(dy));
      const std::vector<double> dqkv = rounded(gradient_of_qkv(qkv, attended, causal));
      run_backward<double>([&](const auto& ctx) { return linear(ctx, x, qkv_weight); }, dqkv);

      expect_close(y.values(), expected.values(), 1e-12);
      expect_close(layer.projection_weight.grad(), projection_weight.grad(), 1e-12);
      expect_close(layer.qkv_weight.grad(), qkv_weight.grad(), 1e-12);
      expect_close(layer.x.grad(), x.grad(), 1e-12);
      expect_sums(layer.projection_bias.grad(), dy, 1e-12);
      expect_sums(layer.qkv_bias.grad(), dqkv, 1e-12);
      expect_close(layer(Context<double>{.precision = Precision::bf16}, causal).values(), expected.values(),
                   1e-12);
    }
  }
}

TEST(SelfAttention, AddsToGradientsThatAreThere) {
  Rng rng(3);
  for (Precision precision : {Precision::fp32, Precision::bf16}) {
    const Layer layer(1, 7, 3, 5, 3, rng), once = layer;
    const auto dy = random_values<double>(21, rng);
    for (int pass = 0; pass < 2; ++pass)
      run_backward<double>([&](const auto& ctx) { return layer(ctx, true); }, dy, nullptr, precision);
    run_backward<double>([&](const auto& ctx) { return once(ctx, true); }, dy, nullptr, precision);
    const auto twice = layer.parameters(), single = once.parameters();
    for (std::size_t i = 0; i < twice.size(); ++i) {
      for (std::size_t j = 0; j < twice[i]->grad().size(); ++j)
        EXPECT_NEAR(twice[i]->grad()[j], 2 * single[i]->grad()[j], 1e-12);
    }
  }
}

TEST(SelfAttention, PassesGradientsToWhoeverWantsThem) {
  Rng rng(4);
  const Layer layer(1, 3, 5, 7, 3, rng), all = layer;
  const auto dy = random_values<double>(9, rng);
  const auto backward = [&](auto&&... weights) {
    run_backward<double>([&](const auto& ctx) { return self_attention(ctx, weights..., Layer::heads, true); },
                         dy, nullptr, Precision::bf16);
  };
  backward(all.x, all.qkv_weight, all.qkv_bias, all.projection_weight, all.projection_bias);
  backward(layer.x.detach(), layer.qkv_weight.detach(), layer.qkv_bias.detach(), layer.projection_weight,
           layer.projection_bias);
  expect_close(layer.projection_weight.grad(), all.projection_weight.grad(), 0);
  backward(layer.x, layer.qkv_weight.detach(), layer.qkv_bias.detach(), layer.projection_weight.detach(),
           layer.projection_bias.detach());
  expect_close(layer.x.grad(), all.x.grad(), 0);
  backward(layer.x.detach(), layer.qkv_weight.detach(), layer.qkv_bias, layer.projection_weight.detach(),
           layer.projection_bias.detach());
  expect_close(layer.qkv_bias.grad(), all.qkv_bias.grad(), 0);
}

TEST(SelfAttention, NeedsNeitherBiasesNorTokens) {
  Rng rng(5);
  for (Precision precision : {Precision::fp32, Precision::bf16}) {
    for (Index tokens : {0, 3}) {
      const auto x = Parameter<float>::normal({2, tokens, 5}, 1.0, rng);
      const auto qkv = Parameter<float>::normal({12, 5}, 1.0, rng),
                 projection = Parameter<float>::normal({3, 4}, 1.0, rng);
      const auto run = [&](const Tensor<float>& qkv_bias, const Tensor<float>& projection_bias) {
        const auto dy = std::vector<float>(static_cast<std::size_t>(2 * tokens * 3), 1.0F);
        return run_backward<float>(
            [&](const auto& ctx) {
              return self_attention(ctx, x, qkv, qkv_bias, projection, projection_bias, 2, false);
            },
            dy, nullptr, precision);
      };
      const auto without = run({}, {});
      const auto with_zeros = run(Tensor<float>::zeros({12}), Tensor<float>::zeros({3}));
      expect_close(without.values(), with_zeros.values(), 0);
    }
  }
}

TEST(SelfAttention, WithATapeButNoGradientIsTheSame) {
  Rng rng(6);
  const Layer layer(2, 7, 5, 3, 3, rng);
  Tape<double> tape;
  const auto y = self_attention<double>({.tape = &tape, .precision = Precision::bf16}, layer.x.detach(),
                                        layer.qkv_weight.detach(), layer.qkv_bias.detach(),
                                        layer.projection_weight.detach(), layer.projection_bias.detach(),
                                        Layer::heads, true);
  EXPECT_EQ(tape.size(), 0U);
  expect_close(y.values(), layer(Context<double>{.precision = Precision::bf16}, true).values(), 0);
}

TEST(SelfAttention, NamesTheShapesThatDoNotFit) {
  const auto zeros = [](Shape shape) { return Tensor<float>::zeros(shape); };
  for (Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto call = [&](Shape x, Shape qkv, Shape qkv_bias, Shape projection, Shape projection_bias,
                          Index heads = 2) {
      self_attention(Context<float>{.precision = precision}, zeros(x), zeros(qkv), zeros(qkv_bias),
                     zeros(projection), zeros(projection_bias), heads, true);
    };
    EXPECT_NO_THROW(call({1, 2, 4}, {12, 4}, {12}, {5, 4}, {5}));
    EXPECT_THROW(call({2, 4}, {12, 4}, {12}, {5, 4}, {5}), ShapeError);
    EXPECT_THROW(call({1, 2, 3}, {12, 4}, {12}, {5, 4}, {5}), ShapeError);
    EXPECT_THROW(call({1, 2, 4}, {13, 4}, {13}, {5, 4}, {5}), ShapeError);
    EXPECT_THROW(call({1, 2, 4}, {12, 4}, {11}, {5, 4}, {5}), ShapeError);
    EXPECT_THROW(call({1, 2, 4}, {12, 4}, {12}, {5, 4}, {4}), ShapeError);
    EXPECT_THROW(call({1, 2, 4}, {12, 4}, {12}, {5, 4}, {5}, 3), ConfigError);
    try {
      call({1, 2, 4}, {12, 4}, {12}, {5, 3}, {5});
      FAIL() << "another width was accepted";
    } catch (const ShapeError& error) {
      EXPECT_STREQ(error.what(),
                   "[self_attention] projection_weight is [5, 3]: it must be [d_out, D] with D = 4");
    }
  }
}

}  // namespace
}  // namespace exfusion
