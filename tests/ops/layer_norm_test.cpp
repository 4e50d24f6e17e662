#include <cmath>

#include <gtest/gtest.h>

#include <exfusion/ops/layer_norm.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(LayerNorm, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 7, 17}) {
    for (Index width : {1, 3, 7, 17}) {
      const auto x = Parameter<double>::normal({rows, width}, 2.0, rng);
      const auto weight = Parameter<double>::normal({width}, 1.0, rng);
      const auto bias = Parameter<double>::normal({width}, 1.0, rng);
      const auto result = testing::grad_check(
          [&](const auto& ctx) { return layer_norm(ctx, x, weight, bias, 1e-2); }, {x, weight, bias});
      EXPECT_TRUE(result) << "rows " << rows << " width " << width << ": " << result;
    }
  }
}

std::vector<double> naive_layer_norm(const Tensor<float>& x, const Tensor<float>& weight,
                                     const Tensor<float>& bias, double eps) {
  const Index width = x.shape()[-1];
  std::vector<double> y;
  for (Index row = 0; row < x.shape().rows(); ++row) {
    const float* from = x.data() + row * width;
    double mean = 0, variance = 0;
    for (Index i = 0; i < width; ++i) mean += static_cast<double>(from[i]) / static_cast<double>(width);
    for (Index i = 0; i < width; ++i) {
      variance += std::pow(static_cast<double>(from[i]) - mean, 2) / static_cast<double>(width);
    }
    for (Index i = 0; i < width; ++i) {
      y.push_back((static_cast<double>(from[i]) - mean) / std::sqrt(variance + eps) *
                      static_cast<double>(weight.data()[i]) +
                  static_cast<double>(bias.data()[i]));
    }
  }
  return y;
}

TEST(LayerNorm, MatchesTheFormulaInSinglePrecision) {
  Rng rng(2);
  for (Index width : {1, 31, 64, 768}) {
    const auto x = testing::random_float({3, 41, width}, rng, 3.0);
    const auto weight = testing::random_float({width}, rng), bias = testing::random_float({width}, rng);
    const auto y = layer_norm(Context<float>{}, x, weight, bias, 1e-5);
    EXPECT_EQ(y.shape(), x.shape());
    testing::expect_close(y.values(), naive_layer_norm(x, weight, bias, 1e-5), 2e-6);
  }
}

TEST(LayerNorm, KeepsItsPrecisionFarFromZero) {
  Rng rng(3);
  auto x = testing::random_float({5, 256}, rng);
  for (float& value : x.values()) value += 4096.0F;
  const auto weight = Parameter<float>::constant({256}, 1.0F);
  const auto bias = Parameter<float>({256});
  const auto y = layer_norm(Context<float>{}, x, weight, bias, 1e-5);
  testing::expect_close(y.values(), naive_layer_norm(x, weight, bias, 1e-5), 2e-3);
}

TEST(LayerNorm, GradientsAreTheSameForAllThreadCountsAndMatchDoublePrecision) {
  Rng rng(4);
  const Index rows = 1000, width = 130;
  const auto x = Parameter<double>::normal({rows, width}, 1.0, rng);
  const auto weight = Parameter<double>::normal({width}, 1.0, rng);
  const auto bias = Parameter<double>::normal({width}, 1.0, rng);
  const auto xf = testing::to_float(x), weight_f = testing::to_float(weight),
             bias_f = testing::to_float(bias);
  const auto dy = testing::random_values<float>(rows * width, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    std::vector<float> all;
    for (const Tensor<float>& input : {Tensor<float>(xf), Tensor<float>(weight_f), Tensor<float>(bias_f)}) {
      input.gradient()->clear();
    }
    testing::run_backward<float>([&](const auto& ctx) { return layer_norm(ctx, xf, weight_f, bias_f, 1e-5); },
                                 dy);
    for (const auto values : {xf.grad(), weight_f.grad(), bias_f.grad()}) {
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  });
  const std::vector<double> dy_double(dy.begin(), dy.end());
  testing::run_backward<double>([&](const auto& ctx) { return layer_norm(ctx, x, weight, bias, 1e-5); },
                                dy_double);
  testing::expect_close(xf.grad(), x.grad(), 5e-6);
  testing::expect_close(weight_f.grad(), weight.grad(), 5e-5);
  testing::expect_close(bias_f.grad(), bias.grad(), 5e-5);
}

TEST(LayerNorm, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  const auto four = Tensor<float>::zeros({4});
  try {
    layer_norm(ctx, Tensor<float>::zeros({2, 5}), four, four, 1e-5);
    FAIL() << "a weight of the wrong size was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[layer_norm] weight is [4]: it must be [D] = [5]");
  }
  const auto empty = Tensor<float>::zeros({0});
  EXPECT_THROW(layer_norm(ctx, Tensor<float>::zeros({2, 0}), empty, empty, 1e-5), ShapeError);
  EXPECT_THROW(layer_norm(ctx, Tensor<float>::zeros({}), four, four, 1e-5), ShapeError);
  EXPECT_THROW(layer_norm(ctx, Tensor<float>::zeros({2, 4}), four, Tensor<float>{}, 1e-5), ShapeError);
}

}  // namespace
}  // namespace exfusion
