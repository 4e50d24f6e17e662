// The two products with GELU between them, against the three operations one after the other.

#include <vector>

#include <gtest/gtest.h>

#include <exfusion/ops/gelu.hpp>
#include <exfusion/ops/gelu_feed_forward.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

using testing::copy_of, testing::expect_close, testing::random_values, testing::rounded,
    testing::run_backward;

constexpr Index more_than_a_block = 2051;

struct Network {
  Parameter<double> x, up, up_bias, down, down_bias;

  Network(Index rows, Index d_model, Index d_ff, Rng& rng)
      : x(Parameter<double>::normal({rows, d_model}, 1.0, rng)),
        up(Parameter<double>::normal({d_ff, d_model}, 1.0, rng)),
        up_bias(Parameter<double>::normal({d_ff}, 1.0, rng)),
        down(Parameter<double>::normal({d_model, d_ff}, 1.0, rng)),
        down_bias(Parameter<double>::normal({d_model}, 1.0, rng)) {}

  Tensor<double> fused(const Context<double>& ctx, GeluForm form) const {
    return gelu_feed_forward(ctx, x, up, up_bias, down, down_bias, form);
  }
  Tensor<double> composed(const Context<double>& ctx, GeluForm form) const {
    return linear(ctx, ops::gelu(ctx, linear(ctx, x, up, up_bias), form), down, down_bias);
  }
  std::vector<const Parameter<double>*> parameters() const { return {&x, &up, &up_bias, &down, &down_bias}; }
};

TEST(GeluFeedForward, CutsManyRowsIntoBlocks) {
  EXPECT_EQ(ops::feed_forward_block(0), 1);
  EXPECT_EQ(ops::feed_forward_block(2048), 2048);
  EXPECT_EQ(ops::feed_forward_block(more_than_a_block), more_than_a_block / 2 + 1);
}

TEST(GeluFeedForward, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 7}) {
    for (Index d_model : {1, 3, 17}) {
      for (Index d_ff : {1, 7}) {
        for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
          const Network net(rows, d_model, d_ff, rng);
          const auto result =
              testing::grad_check([&](const Context<double>& ctx) { return net.fused(ctx, form); },
                                  {net.x, net.up, net.up_bias, net.down, net.down_bias});
          EXPECT_TRUE(result) << result;
        }
      }
    }
  }
}

TEST(GeluFeedForward, IsTheThreeOperationsBlockByBlock) {
  Rng rng(2);
  for (Index rows : {Index{0}, Index{5}, more_than_a_block}) {
    for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
      const Network net(rows, 3, 5, rng), same = net;
      const auto dy = random_values<double>(rows * 3, rng);
      const auto y = run_backward<double>([&](const auto& ctx) { return net.fused(ctx, form); }, dy);
      const auto expected =
          run_backward<double>([&](const auto& ctx) { return same.composed(ctx, form); }, dy);
      expect_close(y.values(), expected.values(), 1e-12);
      const auto parameters = net.parameters(), others = same.parameters();
      for (std::size_t i = 0; i < parameters.size(); ++i)
        expect_close(parameters[i]->grad(), others[i]->grad(), 1e-12);
      expect_close(net.fused(Context<double>{}, form).values(), expected.values(), 1e-12);
    }
  }
}

TEST(GeluFeedForward, RoundsFactorsArgumentAndHiddenGradientInBf16) {
  Rng rng(3);
  for (Index rows : {Index{0}, Index{5}, more_than_a_block}) {
    const Network net(rows, 3, 5, rng);
    const auto dy = random_values<double>(rows * 3, rng);
    const auto y = run_backward<double>([&](const auto& ctx) { return net.fused(ctx, GeluForm::tanh); }, dy,
                                        nullptr, Precision::bf16);

    const auto x = rounded(net.x), up = rounded(net.up), down = rounded(net.down);
    const Parameter<double> argument = rounded(linear(Context<double>{}, x, up, net.up_bias));
    const Parameter<double> hidden = rounded(ops::gelu(Context<double>{}, argument, GeluForm::tanh));
    const auto expected = run_backward<double>(
        [&](const auto& ctx) { return linear(ctx, hidden, down, net.down_bias.detach()); }, rounded(dy));
    run_backward<double>([&](const auto& ctx) { return ops::gelu(ctx, argument, GeluForm::tanh); },
                         rounded(hidden.grad()));
    run_backward<double>([&](const auto& ctx) { return linear(ctx, x, up); }, rounded(argument.grad()));
    expect_close(y.values(), expected.values(), 1e-12);
    expect_close(net.down.grad(), down.grad(), 1e-12);
    expect_close(net.up.grad(), up.grad(), 1e-12);
    expect_close(net.x.grad(), x.grad(), 1e-12);
    for (Index j = 0; j < 5; ++j) {  // in full precision
      double sum = 0;
      for (Index row = 0; row < rows; ++row) sum += argument.grad()[static_cast<std::size_t>(row * 5 + j)];
      EXPECT_NEAR(net.up_bias.grad()[static_cast<std::size_t>(j)], sum, 1e-10);
    }
    const Context<double> inference{.precision = Precision::bf16};
    expect_close(net.fused(inference, GeluForm::tanh).values(), expected.values(), 1e-12);
  }
}

TEST(GeluFeedForward, AddsToGradientsThatAreThere) {
  Rng rng(4);
  const Network net(5, 3, 7, rng), once = net;
  const auto dy = random_values<double>(15, rng);
  for (int pass = 0; pass < 2; ++pass)
    run_backward<double>([&](const auto& ctx) { return net.fused(ctx, GeluForm::erf); }, dy);
  run_backward<double>([&](const auto& ctx) { return once.fused(ctx, GeluForm::erf); }, dy);
  const auto twice = net.parameters(), single = once.parameters();
  for (std::size_t i = 0; i < twice.size(); ++i) {
    for (std::size_t j = 0; j < twice[i]->grad().size(); ++j)
      EXPECT_NEAR(twice[i]->grad()[j], 2 * single[i]->grad()[j], 1e-12);
  }
}

TEST(GeluFeedForward, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  const auto zeros = [](Shape shape) { return Tensor<float>::zeros(shape); };
  const auto call = [&](Shape x, Shape up, Shape up_bias, Shape down, Shape down_bias) {
    gelu_feed_forward(ctx, zeros(x), zeros(up), zeros(up_bias), zeros(down), zeros(down_bias),
                      GeluForm::tanh);
  };
  EXPECT_NO_THROW(call({2, 4}, {8, 4}, {8}, {4, 8}, {4}));
  EXPECT_THROW(call({2, 3}, {8, 4}, {8}, {4, 8}, {4}), ShapeError);
  EXPECT_THROW(call({2, 4}, {8, 4}, {7}, {4, 8}, {4}), ShapeError);
  EXPECT_THROW(call({2, 4}, {8, 4}, {8}, {4, 7}, {4}), ShapeError);
  EXPECT_THROW(call({2, 4}, {8, 4}, {8}, {4, 8}, {3}), ShapeError);
  try {
    call({2, 4}, {8, 4}, {8}, {5, 8}, {5});
    FAIL() << "another width was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[gelu_feed_forward] down_weight is [5, 8]: it must be [D, F] with D = 4");
  }
}

}  // namespace
}  // namespace exfusion
