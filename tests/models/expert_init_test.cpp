#include <cmath>
#include <limits>
#include <set>

#include <gtest/gtest.h>

#include <exfusion/models/expert_init.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

using Fused = ExFusionFFN<double, StaticFusion<double>>;

FeedForward<double> random_ffn(Rng& rng, Index d_model = 16, Index d_ff = 40,
                               Activation activation = Activation::gelu_tanh) {
  FeedForward<double> ffn({d_model, d_ff, activation, 0.3, 0.1}, rng);
  rng.fill_normal(ffn.up.bias.values(), 0.5, 0.2);
  return ffn;
}

Fused scatter(const FeedForward<double>& dense, const ExpertInit& init, Rng& rng, Index experts = 4,
              std::vector<double> weights = {}) {
  return upcycle_feed_forward(dense, StaticFusion<double>({std::move(weights)}), true, {experts, init}, rng);
}

double largest_difference_from_dense(const Fused& fused, const FeedForward<double>& dense) {
  double largest = 0;
  const auto parameters = collect_parameters<double>(dense).parameters;
  const auto segments = fused.fused_segments();
  for (std::size_t s = 0; s < segments.size(); ++s) {
    for (Index j = 0; j < segments[s].size(); ++j) {
      largest = std::max(largest, std::abs(segments[s].data()[j] - parameters[s].tensor.data()[j]));
    }
  }
  return largest;
}

/// Elements of expert i's segment minus those of the dense parameter.
std::vector<double> differences(const Fused& fused, const FeedForward<double>& dense, Index expert,
                                std::size_t segment) {
  const auto parameter = collect_parameters<double>(dense).parameters[segment].tensor;
  const auto values = fused.experts.expert(expert, fused.experts.segments()[segment]);
  std::vector<double> result(values.begin(), values.end());
  for (std::size_t j = 0; j < result.size(); ++j) result[j] -= parameter.values()[j];
  return result;
}

double mean_square(std::span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value * value;
  return sum / static_cast<double>(values.size());
}

double variance(std::span<const double> values) {
  double mean = 0;
  for (double value : values) mean += value / static_cast<double>(values.size());
  return mean_square(values) - mean * mean;
}

TEST(ExpertInit, FusedNetworkIsTheDenseOneForEveryInitialisationThatPromisesIt) {
  Rng rng(1);
  for (Activation activation : {Activation::gelu_erf, Activation::swiglu}) {
    const auto dense = random_ffn(rng, 5, 9, activation);
    const std::vector<ExpertInit> all{Copies{}, ZeroSum{0.3}, ZeroSum{2.0}, Drop{0.5}, Drop{1.0}, Drop{0.0}};
    for (const ExpertInit& init : all) {
      EXPECT_LT(largest_difference_from_dense(scatter(dense, init, rng), dense), 1e-14);
      EXPECT_LT(largest_difference_from_dense(scatter(dense, init, rng, 3, {0.6, 0.3, 0.1}), dense), 1e-14);
      EXPECT_LT(largest_difference_from_dense(scatter(dense, init, rng, 2, {1.0, 0.0}), dense), 1e-14);
      EXPECT_LT(largest_difference_from_dense(scatter(dense, init, rng, 1), dense), 1e-14);
    }
  }
}

TEST(ExpertInit, CopiesAreTheDenseWeightsToTheBit) {
  Rng rng(2);
  const auto dense = random_ffn(rng);
  const auto fused = scatter(dense, Copies{}, rng);
  for (std::size_t s = 0; s < fused.experts.segments().size(); ++s) {
    for (Index i = 0; i < 4; ++i) EXPECT_EQ(mean_square(differences(fused, dense, i, s)), 0);
  }
}

TEST(ExpertInit, ZeroSumScattersBySegmentWithTheLayersOwnStandardDeviation) {
  Rng rng(3);
  const auto dense = random_ffn(rng, 64, 200);
  const auto parameters = collect_parameters<double>(dense).parameters;
  const auto fused = scatter(dense, ZeroSum{0.5}, rng);
  for (std::size_t s = 0; s < parameters.size(); ++s) {
    const double spread = variance(parameters[s].tensor.values());
    double mean = 0;
    for (Index i = 0; i < 4; ++i) mean += mean_square(differences(fused, dense, i, s)) / 4;
    EXPECT_NEAR(mean, 0.25 * spread, 0.15 * 0.25 * spread) << parameters[s].name;
  }
  EXPECT_EQ(mean_square(differences(fused, dense, 0, 3)), 0) << "a zero bias stays zero";
}

TEST(ExpertInit, ZeroSumByTheRootOfEMinusOneGivesIndependentExpertsOfETimesTheVariance) {
  Rng rng(4);
  const auto dense = random_ffn(rng, 64, 256);
  const double sigma2 = variance(dense.up.weight.values());
  const auto fused = scatter(dense, ZeroSum{std::sqrt(3.0)}, rng);
  const SlabSegment& up = fused.experts.segments()[0];
  for (Index i = 0; i < 4; ++i) {
    const auto wi = fused.experts.expert(i, up);
    EXPECT_NEAR(variance(wi), 4 * sigma2, 0.06 * 4 * sigma2);
    for (Index k = 0; k < i; ++k) {
      const auto wk = fused.experts.expert(k, up);
      double covariance = 0;
      for (std::size_t j = 0; j < wi.size(); ++j)
        covariance += wi[j] * wk[j] / static_cast<double>(wi.size());
      EXPECT_NEAR(covariance / (4 * sigma2), 0, 0.04) << i << " and " << k;
    }
  }
}

TEST(ExpertInit, DropRedrawsTheAskedNumberOfWholeHiddenChannels) {
  Rng rng(5);
  const Index d_model = 16, d_ff = 41;
  const auto dense = random_ffn(rng, d_model, d_ff, Activation::swiglu);
  const auto fused = scatter(dense, Drop{0.5, false}, rng, 3);
  std::set<std::vector<bool>> choices;
  for (Index i = 0; i < 3; ++i) {
    const auto gate = differences(fused, dense, i, 0), gate_bias = differences(fused, dense, i, 1);
    const auto up = differences(fused, dense, i, 2), up_bias = differences(fused, dense, i, 3);
    const auto down = differences(fused, dense, i, 4), down_bias = differences(fused, dense, i, 5);
    std::vector<bool> redrawn;
    for (Index c = 0; c < d_ff; ++c) {
      redrawn.push_back(gate[static_cast<std::size_t>(c * d_model)] != 0);
      EXPECT_EQ(gate_bias[static_cast<std::size_t>(c)], 0) << "redrawn from zeros, which are zeros";
      EXPECT_EQ(up_bias[static_cast<std::size_t>(c)] != 0, redrawn.back());
      for (Index d = 0; d < d_model; ++d) {
        EXPECT_EQ(gate[static_cast<std::size_t>(c * d_model + d)] != 0, redrawn.back());
        EXPECT_EQ(up[static_cast<std::size_t>(c * d_model + d)] != 0, redrawn.back());
        EXPECT_EQ(down[static_cast<std::size_t>(d * d_ff + c)] != 0, redrawn.back());
      }
    }
    EXPECT_EQ(std::ranges::count(redrawn, true), 20);
    EXPECT_EQ(mean_square(down_bias), 0);
    choices.insert(redrawn);
  }
  EXPECT_EQ(choices.size(), 3U) << "every expert draws channels of its own";
}

TEST(ExpertInit, DropWithoutCorrectionShrinksTheFusedWeightsAsIndependentDrawsDo) {
  Rng rng(6);
  const auto dense = random_ffn(rng, 64, 256);
  const double sigma2 = variance(dense.up.weight.values());
  const auto deviation = [&](double ratio) {
    return std::sqrt(variance(scatter(dense, Drop{ratio, false}, rng).fused_segments()[0].values()) / sigma2);
  };
  EXPECT_NEAR(deviation(0.5), std::sqrt(7.0 / 16), 0.02);
  EXPECT_NEAR(deviation(1.0), 1 / std::sqrt(4.0), 0.02);
  EXPECT_EQ(deviation(0.0), 1);
}

TEST(ExpertInit, DropRedrawsFromTheReplacedWeightsMeanAndDeviation) {
  Rng rng(7);
  auto dense = random_ffn(rng, 64, 256);
  for (double& value : dense.up.weight.values()) value += 0.7;
  const auto fused = scatter(dense, Drop{1.0, false}, rng);
  for (Index i = 0; i < 4; ++i) {
    const auto values = fused.experts.expert(i, fused.experts.segments()[0]);
    double mean = 0;
    for (double value : values) mean += value / static_cast<double>(values.size());
    EXPECT_NEAR(mean, 0.7, 0.01);
    EXPECT_NEAR(std::sqrt(variance(values)), 0.3, 0.01);
  }
}

TEST(ExpertInit, ConstantBiasesStayAsTheyAre) {
  Rng rng(10);
  auto dense = random_ffn(rng);
  std::ranges::fill(dense.up.bias.values(), 0.7);
  for (const ExpertInit& init : {ExpertInit(ZeroSum{1.0}), ExpertInit(Drop{0.5, false})}) {
    EXPECT_EQ(mean_square(differences(scatter(dense, init, rng), dense, 2, 1)), 0);
  }
}

TEST(ExpertInit, TheSameSeedDrawsTheSameExperts) {
  Rng first(8), second(8);
  const auto dense = random_ffn(first);
  EXPECT_EQ(dense.up.weight.data()[3], random_ffn(second).up.weight.data()[3]);
  const auto one = scatter(dense, Drop{}, first), other = scatter(dense, Drop{}, second);
  EXPECT_TRUE(std::ranges::equal(one.experts.expert(2), other.experts.expert(2)));
  EXPECT_FALSE(std::ranges::equal(one.experts.expert(2), one.experts.expert(1)));
}

TEST(ExpertInit, RefusesOptionsOutOfRangeAndNamesThem) {
  Rng rng(9);
  const auto dense = random_ffn(rng);
  const auto message = [&](const ExpertInit& init) {
    return testing::message_of<ConfigError>([&] { scatter(dense, init, rng); });
  };
  EXPECT_EQ(message(ZeroSum{-1}), "[zero_sum] scale is -1: it must be finite and not negative");
  EXPECT_NE(message(ZeroSum{std::numeric_limits<double>::quiet_NaN()}).find("nan"), std::string::npos);
  EXPECT_EQ(message(Drop{1.5}), "[drop] ratio is 1.5: it must be in [0, 1]");
  EXPECT_NE(message(Drop{std::numeric_limits<double>::quiet_NaN()}).find("nan"), std::string::npos);
}

}  // namespace
}  // namespace exfusion
