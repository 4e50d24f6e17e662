#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/ops/add.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/ops/dropout.hpp>
#include <exfusion/ops/gelu.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/ops/mean_rows.hpp>
#include <exfusion/ops/recompute.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

using Doubles = std::vector<double>;

/// A small network of two matrices with dropout and a residual sum.
struct Network {
  Parameter<double> up, down;

  Network(Index width, Rng& rng)
      : up(Parameter<double>::normal({2 * width, width}, 0.5, rng)),
        down(Parameter<double>::normal({width, 2 * width}, 0.5, rng)) {}

  Tensor<double> operator()(const Context<double>& ctx, const Tensor<double>& x) const {
    const Tensor<double> hidden = gelu(ctx, linear(ctx, x, up), GeluForm::erf);
    return add(ctx, x, dropout(ctx, linear(ctx, hidden, down), 0.3));
  }
};

Doubles numbers(std::span<const double> values) { return {values.begin(), values.end()}; }

/// The bits of one pass through two networks, plain or recomputed: the sum of squares of the output, and the
/// gradients of x and of all matrices.
std::vector<Doubles> one_pass(const std::vector<Network>& networks, const Parameter<double>& x,
                              bool recomputed, bool twice_nested = false) {
  Tape<double> tape;
  Rng rng(5);
  const Context<double> ctx{.tape = &tape, .rng = &rng, .training = true};
  const auto wrapped = [&](const Context<double>& inside, const Tensor<double>& input) {
    return twice_nested ? recompute(inside, input, networks[0]) : networks[0](inside, input);
  };
  Tensor<double> y = recomputed ? recompute(ctx, x, wrapped) : networks[0](ctx, x);
  y = recomputed ? recompute(ctx, y, networks[1]) : networks[1](ctx, y);
  const Tensor<double> loss = linear(ctx, mean_rows(ctx, y).reshape({1, y.shape()[-1]}),
                                     Parameter<double>::constant({1, y.shape()[-1]}, 0.7));
  tape.backward(loss);
  std::vector<Doubles> result{numbers(y.values()), numbers(x.grad()), {static_cast<double>(rng.below(1000))}};
  x.gradient()->clear();
  for (const Network& network : networks) {
    for (const Parameter<double>* matrix : {&network.up, &network.down}) {
      result.push_back(numbers(matrix->grad()));
      matrix->gradient()->clear();
    }
  }
  return result;
}

TEST(Recompute, GivesTheSameBitsAsWithoutForAllSizesWithDropout) {
  Rng rng(1);
  for (Index width : {1, 3, 7, 17}) {
    const std::vector<Network> networks{Network(width, rng), Network(width, rng)};
    const auto x = Parameter<double>::normal({5, width}, 1.0, rng);
    const auto plain = one_pass(networks, x, false);
    EXPECT_EQ(one_pass(networks, x, true), plain);
    EXPECT_EQ(one_pass(networks, x, true, true), plain);
  }
}

TEST(Recompute, HasTheRightGradients) {
  Rng rng(2);
  for (Index width : {1, 3, 7}) {
    const Network network(width, rng);
    const auto x = Parameter<double>::normal({3, width}, 1.0, rng);
    const auto result =
        testing::grad_check([&](const Context<double>& ctx) { return recompute(ctx, x, network); },
                            {x, network.up, network.down});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Recompute, AddsToAGradientThatOthersWriteToo) {
  Rng rng(3);
  const Network network(3, rng);
  const auto x = Parameter<double>::normal({2, 3}, 1.0, rng);
  const auto result = testing::grad_check(
      [&](const Context<double>& ctx) { return add(ctx, recompute(ctx, x, network), x); }, {x});
  EXPECT_TRUE(result) << result;
}

TEST(Recompute, OfAFunctionThatReturnsItsInputIsACopy) {
  Rng rng(4);
  const auto x = Parameter<double>::normal({2, 3}, 1.0, rng);
  const auto same = [](const Context<double>&, const Tensor<double>& input) { return input; };
  const auto result =
      testing::grad_check([&](const Context<double>& ctx) { return recompute(ctx, x, same); }, {x});
  EXPECT_TRUE(result) << result;
}

TEST(Recompute, CountsALossThatTheFunctionAddsOnceEvenIfItsResultIsUnused) {
  const auto x = Parameter<double>::constant({2}, 3.0);
  const auto square_losses = [](const Context<double>& ctx, const Tensor<double>& input) {
    const IntTensor first(Shape{});
    *first.data() = 0;
    for (int i = 0; i < 2; ++i) ctx.tape->add_loss(cross_entropy(ctx, input, first));
    return add(ctx, input, input);
  };
  for (bool used : {false, true}) {
    Tape<double> tape;
    const Context<double> ctx{.tape = &tape};
    const Tensor<double> y = recompute(ctx, x, square_losses);
    EXPECT_EQ(tape.added_terms().size(), 2U);
    EXPECT_DOUBLE_EQ(tape.added_loss(), 2 * std::log(2.0));
    const IntTensor second(Shape{});
    *second.data() = 1;
    const auto other = Parameter<double>::constant({2}, 1.0);
    tape.backward(used ? cross_entropy(ctx, y, second) : cross_entropy(ctx, other, second), 0.5);
    // Each term's gradient is (-1/2, 1/2), the loss's 2 (1/2, -1/2); all halved by the scale.
    EXPECT_NEAR(x.grad()[0], used ? 0.0 : -0.5, 1e-15);
    EXPECT_NEAR(x.grad()[1], used ? 0.0 : 0.5, 1e-15);
    x.gradient()->clear();
  }
}

TEST(Recompute, TellsTheFunctionWhichTimeItIs) {
  const auto x = Parameter<double>::constant({2}, 3.0);
  std::vector<std::pair<bool, bool>> times;
  const auto note = [&times](const Context<double>& ctx, const Tensor<double>& input) {
    times.emplace_back(ctx.recompute, ctx.replay);
    return add(ctx, input, input);
  };
  Tape<double> tape;
  const Context<double> ctx{.tape = &tape, .recompute = true};
  const IntTensor target(Shape{});
  *target.data() = 0;
  tape.backward(cross_entropy(ctx, recompute(ctx, x, note), target));
  const std::vector<std::pair<bool, bool>> expected{{false, false}, {false, true}};
  EXPECT_EQ(times, expected);
}

TEST(Recompute, WithoutATapeIsTheFunctionAlone) {
  Rng rng(6);
  const Network network(3, rng);
  const auto x = Parameter<double>::normal({2, 3}, 1.0, rng);
  EXPECT_EQ(numbers(recompute(Context<double>{}, x, network).values()),
            numbers(network(Context<double>{}, x).values()));
}

TEST(Recompute, KeepsNothingOfAFunctionThatThrows) {
  Rng rng(7);
  const Network network(3, rng);
  const auto narrow = Parameter<double>::normal({2, 2}, 1.0, rng);
  const auto x = Parameter<double>::normal({2, 3}, 1.0, rng);
  Tape<double> tape;
  const Context<double> ctx{.tape = &tape};
  EXPECT_THROW(recompute(ctx, narrow, network), ShapeError);
  EXPECT_THROW(recompute(ctx, x,
                         [&](const Context<double>& inside, const Tensor<double>& input) {
                           network(inside, input);
                           throw std::runtime_error("late");
                           return input;
                         }),
               std::runtime_error);
  EXPECT_EQ(tape.size(), 0U);
  tape.clear();
  EXPECT_EQ(tape.nested().size(), 0U);
  EXPECT_NO_THROW(recompute(ctx, x, network));
}

}  // namespace
}  // namespace exfusion
