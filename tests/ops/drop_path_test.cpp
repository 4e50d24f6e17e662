#include <gtest/gtest.h>

#include <exfusion/ops/drop_path.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(DropPath, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index samples : {1, 3, 7, 17}) {
    for (Index size : {1, 3, 17}) {
      const auto x = Parameter<double>::normal({samples, size, 2}, 1.0, rng);
      const auto result = testing::grad_check([&](const auto& ctx) { return drop_path(ctx, x, 0.4); }, {x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(DropPath, KeepsOrDropsWholeSamplesAndTheirMean) {
  const Index samples = 20000;
  const auto x = Tensor<float>::zeros({samples, 3});
  for (float& value : x.values()) value = 1;
  Rng rng(2);
  const Context<float> ctx{.rng = &rng, .training = true};
  const auto y = drop_path(ctx, x, 0.25);
  double sum = 0;
  for (Index b = 0; b < samples; ++b) {
    const float first = y.data()[b * 3];
    ASSERT_TRUE(first == 0 || first == static_cast<float>(1 / 0.75));
    ASSERT_EQ(y.data()[b * 3 + 1], first);
    ASSERT_EQ(y.data()[b * 3 + 2], first);
    sum += static_cast<double>(first);
  }
  EXPECT_NEAR(sum / static_cast<double>(samples), 1.0, 0.02);
}

TEST(DropPath, RepeatsItselfFromTheSameGeneratorState) {
  const auto x = Tensor<float>::from({5, 1}, {1, 2, 3, 4, 5});
  Rng first(3), second(3);
  const auto a = drop_path(Context<float>{.rng = &first, .training = true}, x, 0.5);
  const auto b = drop_path(Context<float>{.rng = &second, .training = true}, x, 0.5);
  for (Index i = 0; i < 5; ++i) EXPECT_EQ(a.data()[i], b.data()[i]);
  EXPECT_EQ(first.state(), second.state());
}

TEST(DropPath, IsTheIdentityInEvaluationAndForZeroProbability) {
  const auto x = Tensor<float>::zeros({2, 3});
  Rng rng(4);
  EXPECT_EQ(drop_path(Context<float>{}, x, 0.5).data(), x.data());
  EXPECT_EQ(drop_path(Context<float>{.rng = &rng, .training = true}, x, 0.0).data(), x.data());
}

TEST(DropPath, RefusesWhatIsNoProbabilityAndAMissingGenerator) {
  const auto x = Tensor<float>::zeros({2, 3});
  EXPECT_THROW(drop_path(Context<float>{}, x, 1.0), ConfigError);
  EXPECT_THROW(drop_path(Context<float>{}, x, -0.1), ConfigError);
  EXPECT_THROW(drop_path(Context<float>{.training = true}, x, 0.5), ConfigError);
  EXPECT_THROW(drop_path(Context<float>{}, Tensor<float>::zeros({}), 0.5), ShapeError);
}

}  // namespace
}  // namespace exfusion
