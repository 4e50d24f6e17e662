#include <gtest/gtest.h>

#include <exfusion/nn/feed_forward.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

static_assert(Ffn<FeedForward<float>, float>);
static_assert(!Ffn<Parameter<float>, float>);

TEST(FeedForward, GradientMatchesDifferencesForEveryActivationAndOddSizes) {
  Rng rng(1);
  for (Activation activation : {Activation::gelu_tanh, Activation::gelu_erf, Activation::swiglu}) {
    for (Index size : {1, 3, 7, 17}) {
      const FeedForward<double> ffn({size, 2 * size + 1, activation, 0.5, 0.5}, rng);
      const auto x = Parameter<double>::normal({2, 3, size}, 1.0, rng);
      const auto result =
          testing::grad_check([&](const Context<double>& ctx) { return ffn(ctx, x); }, ffn, {x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(FeedForward, NamesItsParametersInTheOrderGateUpDown) {
  Rng rng(1);
  const FeedForward<float> gated({4, 8, Activation::swiglu}, rng);
  std::vector<std::string> names;
  for (const auto& parameter : collect_parameters<float>(gated).parameters) names.push_back(parameter.name);
  EXPECT_EQ(names, (std::vector<std::string>{"gate.weight", "gate.bias", "up.weight", "up.bias",
                                             "down.weight", "down.bias"}));
  const FeedForward<float> plain({4, 8, Activation::gelu_tanh}, rng);
  EXPECT_EQ(collect_parameters<float>(plain).parameters.front().name, "up.weight");
}

TEST(FeedForward, RefusesSizesThatAreNotPositiveAndInputsThatDoNotFit) {
  Rng rng(1);
  EXPECT_THROW(FeedForward<float>({.d_model = 0, .d_ff = 4}, rng), ConfigError);
  EXPECT_THROW(FeedForward<float>({.d_model = 4, .d_ff = -1}, rng), ConfigError);
  const FeedForward<float> ffn({4, 8, Activation::gelu_erf}, rng);
  EXPECT_THROW(ffn(Context<float>{}, Tensor<float>::zeros({2, 5})), ShapeError);
}

}  // namespace
}  // namespace exfusion
