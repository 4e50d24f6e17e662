#include <algorithm>

#include <gtest/gtest.h>

#include <exfusion/nn/attention.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

TEST(MultiHeadAttention, GradientsOfInputAndParametersMatchDifferences) {
  Rng rng(1);
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 7, 17}) {
      const MultiHeadAttention<double> layer(6, 2, causal, 0.5, 0.5, rng);
      const auto x = Parameter<double>::normal({2, tokens, 6}, 1.0, rng);
      const auto result = testing::grad_check([&](const Context<double>& ctx) { return layer(ctx, x); },
                                              layer, std::vector<Tensor<double>>{x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(MultiHeadAttention, NamesItsParametersInOrder) {
  Rng rng(2);
  const MultiHeadAttention<float> layer(8, 2, true, 0.02, 0.01, rng);
  const auto list = collect_parameters<float>(layer);
  std::vector<std::string> names;
  for (const auto& parameter : list.parameters) names.push_back(parameter.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"qkv.weight", "qkv.bias", "projection.weight", "projection.bias"}));
  EXPECT_EQ(layer.qkv.weight.shape(), (Shape{24, 8}));
  EXPECT_EQ(layer.projection.weight.shape(), (Shape{8, 8}));
  EXPECT_EQ(parameter_count<float>(layer), 3 * 64 + 24 + 64 + 8);
}

TEST(MultiHeadAttention, LaterTokensDoNotChangeEarlierOutputsWhenCausal) {
  Rng rng(3);
  const MultiHeadAttention<float> layer(12, 3, true, 0.3, 0.3, rng);
  const auto x = Parameter<float>::normal({1, 70, 12}, 1.0, rng);
  const auto before = layer(Context<float>{}, x);
  for (Index changed : {1, 35, 64, 69}) {
    Parameter<float> other = x;
    std::ranges::fill(other.values().subspan(static_cast<std::size_t>(changed * 12), 12), 9.0F);
    const auto after = layer(Context<float>{}, other);
    EXPECT_TRUE(std::equal(before.data(), before.data() + changed * 12, after.data())) << changed;
    EXPECT_FALSE(std::ranges::equal(before.values(), after.values())) << changed;
  }
}

TEST(MultiHeadAttention, RefusesHeadsAndInputsThatDoNotFit) {
  Rng rng(4);
  EXPECT_THROW(MultiHeadAttention<float>(10, 3, true, 0.02, 0.02, rng), ConfigError);
  EXPECT_THROW(MultiHeadAttention<float>(10, 0, true, 0.02, 0.02, rng), ConfigError);
  const MultiHeadAttention<float> layer(8, 2, true, 0.02, 0.02, rng);
  EXPECT_THROW(layer(Context<float>{}, Tensor<float>::zeros({4, 8})), ShapeError);
  EXPECT_THROW(layer(Context<float>{}, Tensor<float>::zeros({1, 4, 9})), ShapeError);
}

}  // namespace
}  // namespace exfusion
