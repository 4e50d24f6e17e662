#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/ops/dropout.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

std::vector<float> dropped(const Tensor<float>& x, double p, Rng rng) {
  const Context<float> ctx{.rng = &rng, .training = true};
  return testing::copy_of(dropout(ctx, x, p).values());
}

TEST(Dropout, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index size : {1, 3, 7, 17, 129}) {
    const auto x = Parameter<double>::normal({size}, 1.0, rng);
    const auto result =
        testing::grad_check([&](const auto& ctx) { return dropout(ctx, x, 0.4); }, {x}, {.seed = 5});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Dropout, TakesItsMaskFromTheGeneratorsReservedCounters) {
  Rng rng(2);
  const auto x = testing::random_float({300}, rng);
  const Rng::State first = rng.state();
  const Context<float> ctx{.rng = &rng, .training = true};
  const auto y = dropout(ctx, x, 0.25);
  for (Index i = 0; i < x.size(); ++i) {
    const auto group = static_cast<std::uint64_t>(i / 64), place = static_cast<std::uint64_t>(i % 64);
    const auto block = Rng::at({first.key, first.counter + group * 16 + place % 16});
    const bool keep = block[place / 16] >= 0x40000000U;
    EXPECT_EQ(y.data()[i], keep ? x.data()[i] * (1 / 0.75F) : 0.0F) << i;
  }
  EXPECT_EQ(rng.state().counter, first.counter + 5 * 16);
}

TEST(Dropout, GivesTheSameMaskForTheSameSeedAndAnotherForAnother) {
  const auto x = Parameter<float>::constant({40000}, 1.0F);
  const auto expected = dropped(x, 0.5, Rng(3));
  EXPECT_EQ(expected, dropped(x, 0.5, Rng(3)));
  EXPECT_NE(expected, dropped(x, 0.5, Rng(4)));
  testing::expect_same_bits_for_all_thread_counts([&] { return dropped(x, 0.5, Rng(3)); });
}

TEST(Dropout, KeepsTheMean) {
  const Index size = 400000;
  const auto x = Parameter<float>::constant({size}, 1.0F);
  for (double p : {0.01, 0.1, 0.5, 0.9}) {
    double sum = 0, zeros = 0;
    for (float value : dropped(x, p, Rng(5))) {
      sum += static_cast<double>(value);
      zeros += value == 0 ? 1 : 0;
    }
    const double five_sigma = 5 * std::sqrt(p * (1 - p) / static_cast<double>(size));
    EXPECT_NEAR(zeros / static_cast<double>(size), p, five_sigma);
    EXPECT_NEAR(sum / static_cast<double>(size), 1.0, five_sigma / (1 - p));
  }
}

TEST(Dropout, IsTheIdentityInEvaluationAndForProbabilityZero) {
  Rng rng(6);
  const auto x = testing::random_float({10}, rng);
  const Rng::State before = rng.state();
  EXPECT_EQ(dropout(Context<float>{.rng = &rng}, x, 0.5).data(), x.data());
  EXPECT_EQ(dropout(Context<float>{.rng = &rng, .training = true}, x, 0.0).data(), x.data());
  EXPECT_EQ(rng.state(), before);
}

TEST(Dropout, RejectsProbabilitiesOutsideZeroToOneAndAMissingGenerator) {
  const auto x = Tensor<float>::zeros({3});
  for (double p : {-0.1, 1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(dropout(Context<float>{}, x, p), ConfigError) << p;
  }
  EXPECT_THROW(dropout(Context<float>{.training = true}, x, 0.5), ConfigError);
}

}  // namespace
}  // namespace exfusion
