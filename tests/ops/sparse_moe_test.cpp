#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/ops/sparse_moe.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

/// Rows of positive numbers that sum to one.
Parameter<double> probabilities(Index tokens, Index experts, Rng& rng) {
  auto p = Parameter<double>::normal({tokens, experts}, 1.0, rng);
  for (Index token = 0; token < tokens; ++token) {
    const auto row =
        p.values().subspan(static_cast<std::size_t>(token * experts), static_cast<std::size_t>(experts));
    for (double& value : row) value = std::exp(value);
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (double& value : row) value /= sum;
  }
  return p;
}

TEST(SparseMoEOps, TheMostProbableExpertsServeAndTiesGoToTheLowerIndex) {
  const auto p = Tensor<double>::from({3, 4}, {0.1, 0.2, 0.3, 0.4,      //
                                               0.25, 0.25, 0.25, 0.25,  //
                                               0.0, 0.4, 0.2, 0.4});
  const auto routing = route(Context<double>{}, p, 2);
  const std::vector<std::int32_t> chosen(routing.groups.expert, routing.groups.expert + 6);
  EXPECT_EQ(chosen, (std::vector<std::int32_t>{3, 2, 0, 1, 1, 3}));
  const std::vector<std::int32_t> first(routing.groups.first, routing.groups.first + 5);
  EXPECT_EQ(first, (std::vector<std::int32_t>{0, 1, 3, 4, 6}));
  const std::vector<std::int32_t> row(routing.groups.row, routing.groups.row + 6);
  EXPECT_EQ(row, (std::vector<std::int32_t>{4, 3, 0, 1, 2, 5}));
  EXPECT_DOUBLE_EQ(routing.gates.data()[0], 0.4 / 0.7);
  EXPECT_DOUBLE_EQ(routing.gates.data()[1], 0.3 / 0.7);
}

TEST(SparseMoEOps, OneExpertOfEachTokenKeepsTheProbabilityAsItsGate) {
  const auto p = Tensor<double>::from({2, 2}, {0.3, 0.7, 0.9, 0.1});
  const auto routing = route(Context<double>{}, p, 1);
  EXPECT_EQ(routing.gates.data()[0], 0.7);
  EXPECT_EQ(routing.gates.data()[1], 0.9);
}

TEST(SparseMoEOps, NanProbabilitiesStillChooseDifferentExperts) {
  const double nan = std::nan("");
  const auto routing = route(Context<double>{}, Tensor<double>::from({1, 3}, {nan, nan, nan}), 2);
  EXPECT_EQ(routing.groups.expert[0], 0);
  EXPECT_EQ(routing.groups.expert[1], 1);
}

TEST(SparseMoEOps, GradientsMatchDifferencesForOddSizes) {
  Rng rng(1);
  for (Index tokens : {1, 3, 7, 17}) {
    for (Index experts : {1, 3, 7, 17}) {
      for (Index k : {Index{1}, std::min<Index>(3, experts), experts}) {
        const auto p = probabilities(tokens, experts, rng);
        const auto x = Parameter<double>::normal({tokens, 3}, 1.0, rng);
        const auto weight = Parameter<double>::normal({experts, 7, 3}, 1.0, rng);
        const auto bias = Parameter<double>::normal({experts, 7}, 1.0, rng);
        const auto result = testing::grad_check(
            [&](const Context<double>& ctx) {
              const auto routing = route(ctx, p, k);
              ctx.tape->add_loss(balance_loss(ctx, p, routing, 0.7));
              const auto rows = grouped_linear(ctx, dispatch(ctx, x, routing), weight, bias, routing);
              return combine(ctx, rows, routing);
            },
            {p, x, weight, bias});
        EXPECT_TRUE(result) << tokens << " tokens, " << experts << " experts, k = " << k << ": " << result;
      }
    }
  }
}

TEST(SparseMoEOps, AnExpertWithoutTokensHasAZeroGradientNotAnOldOne) {
  const auto weight = Parameter<double>::constant({3, 1, 1}, 2.0);
  std::ranges::fill_n(weight.gradient()->data, 3, 99.0);
  Tape<double> tape;
  const Context<double> ctx{.tape = &tape};
  const auto routing = route(ctx, Tensor<double>::from({1, 3}, {0.3, 0.6, 0.1}), 1);
  const auto x = dispatch(ctx, Tensor<double>::from({1, 1}, {5.0}), routing);
  tape.backward(combine(ctx, grouped_linear(ctx, x, weight, {}, routing), routing));
  EXPECT_EQ(weight.grad()[0], 0.0);
  EXPECT_DOUBLE_EQ(weight.grad()[1], 0.6 * 5);
  EXPECT_EQ(weight.grad()[2], 0.0);
}

TEST(SparseMoEOps, EvenUseOfAllExpertsCostsExactlyTheScale) {
  const auto p = Tensor<double>::from({4, 4}, {0.4, 0.3, 0.2, 0.1, 0.1, 0.4, 0.3, 0.2,  //
                                               0.2, 0.1, 0.4, 0.3, 0.3, 0.2, 0.1, 0.4});
  const Context<double> ctx;
  for (Index k : {1, 2, 4}) EXPECT_NEAR(balance_loss(ctx, p, route(ctx, p, k), 0.01).item(), 0.01, 1e-15);
  const auto collapsed = Tensor<double>::from({2, 2}, {1.0, 0.0, 1.0, 0.0});
  EXPECT_NEAR(balance_loss(ctx, collapsed, route(ctx, collapsed, 1), 0.01).item(), 0.02, 1e-15);
}

TEST(SparseMoEOps, NamesTheShapesAndLimitsThatDoNotFit) {
  const Context<float> ctx;
  const auto p = Tensor<float>::from({2, 2}, {0.5F, 0.5F, 0.5F, 0.5F});
  EXPECT_THROW(route(ctx, p, 0), ConfigError);
  EXPECT_THROW(route(ctx, Tensor<float>::zeros({2}), 1), ShapeError);
  EXPECT_THROW(route(ctx, Tensor<float>::zeros({0, 2}), 1), ShapeError);
  try {
    route(ctx, p, 3);
    FAIL() << "more choices than experts were accepted";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[route] k = 3: it must be between 1 and the number of experts, 2");
  }
  const auto routing = route(ctx, p, 1);
  EXPECT_THROW(dispatch(ctx, Tensor<float>::zeros({3, 4}), routing), ShapeError);
  EXPECT_THROW(combine(ctx, Tensor<float>::zeros({3, 4}), routing), ShapeError);
  EXPECT_THROW(balance_loss(ctx, Tensor<float>::zeros({2, 3}), routing, 0.01), ShapeError);
  const auto x = Tensor<float>::zeros({2, 4});
  EXPECT_THROW(grouped_linear(ctx, x, Tensor<float>::zeros({3, 5, 4}), {}, routing), ShapeError);
  EXPECT_THROW(grouped_linear(ctx, x, Tensor<float>::zeros({2, 5, 3}), {}, routing), ShapeError);
  EXPECT_THROW(grouped_linear(ctx, x, Tensor<float>::zeros({2, 5, 4}), Tensor<float>::zeros({5}), routing),
               ShapeError);
}

}  // namespace
}  // namespace exfusion
