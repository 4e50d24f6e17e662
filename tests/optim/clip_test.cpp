#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/optim/clip.hpp>

#include "optim/toy_model.hpp"

namespace exfusion {
namespace {

using testing::random_gradients;
using testing::random_toy;

double naive_norm(const ParameterList<double>& list) {
  double sum = 0;
  for (const auto& parameter : list.parameters) {
    for (double value : parameter.tensor.grad()) sum += value * value;
  }
  for (const auto& [name, slab] : list.slabs) {
    for (std::size_t i = 0; i < slab.segments().size(); ++i) {
      for (double value : slab.fused(i).grad()) sum += value * value;
    }
  }
  return std::sqrt(sum);
}

TEST(Clip, TheNormCountsEachSlabByItsOneDenseGradient) {
  Rng rng(1);
  for (Index experts : {1, 4}) {
    const auto model = random_toy<double>(experts, FusionGranularity::layer, false, rng);
    const auto list = collect_parameters<double>(model);
    random_gradients(list, rng);
    EXPECT_NEAR(gradient_norm(list), naive_norm(list), 1e-12);
  }
}

TEST(Clip, ALargerNormIsScaledToTheLimit) {
  Rng rng(2);
  const auto model = random_toy<double>(3, FusionGranularity::layer, false, rng);
  const auto list = collect_parameters<double>(model);
  random_gradients(list, rng);
  const double before = gradient_norm(list), first = model.weight.grad()[0];
  EXPECT_EQ(clip_gradient_norm(list, 0.5), before);
  EXPECT_NEAR(naive_norm(list), 0.5, 1e-14);
  EXPECT_NEAR(model.weight.grad()[0], first * 0.5 / before, 1e-15);
}

TEST(Clip, ASmallerNormIsLeftAlone) {
  Rng rng(3);
  const auto model = random_toy<double>(3, FusionGranularity::layer, false, rng);
  const auto list = collect_parameters<double>(model);
  random_gradients(list, rng);
  const double before = gradient_norm(list);
  EXPECT_EQ(clip_gradient_norm(list, before), before);
  EXPECT_EQ(gradient_norm(list), before);
}

TEST(Clip, GradientsThatNobodyWroteCountAsZero) {
  Rng rng(4);
  const auto model = random_toy<double>(2, FusionGranularity::layer, false, rng);
  const auto list = collect_parameters<double>(model);
  random_gradients(list, rng);
  list.discard_gradients();
  EXPECT_EQ(clip_gradient_norm(list, 1.0), 0.0);
  model.bias.open_gradient().data[0] = 3;
  std::fill_n(model.bias.gradient()->data + 1, 4, 0.0);
  EXPECT_EQ(gradient_norm(list), 3.0);
  EXPECT_FALSE(model.weight.gradient()->defined);
}

TEST(Clip, ABrokenNormIsReturnedAndNothingScaled) {
  Rng rng(5);
  for (float broken : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto model = random_toy<float>(2, FusionGranularity::layer, false, rng);
    const auto list = collect_parameters<float>(model);
    random_gradients(list, rng);
    const float kept = model.weight.grad()[0];
    model.experts.gradient()[3] = broken;
    EXPECT_FALSE(std::isfinite(clip_gradient_norm(list, 0.1)));
    EXPECT_EQ(model.weight.grad()[0], kept);
  }
}

TEST(Clip, FloatGradientsWhoseSquaresOverflowAreStillClipped) {
  Rng rng(6);
  const auto model = random_toy<float>(2, FusionGranularity::layer, false, rng);
  const auto list = collect_parameters<float>(model);
  random_gradients(list, rng, 1e30);
  EXPECT_GT(clip_gradient_norm(list, 1.0), 1e30);
  EXPECT_NEAR(gradient_norm(list), 1.0, 1e-6);
}

TEST(Clip, TheNormIsTheSameToTheBitForAnyNumberOfThreads) {
  Rng rng(7);
  const auto model = random_toy<float>(2, FusionGranularity::layer, false, rng, 129, 515);
  const auto list = collect_parameters<float>(model);
  random_gradients(list, rng);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const double alone = gradient_norm(list);
  for (int count : {2, 3, 5}) {
    omp_set_num_threads(count);
    EXPECT_EQ(gradient_norm(list), alone);
  }
  omp_set_num_threads(threads);
}

TEST(Clip, RefusesALimitThatIsNotPositive) {
  Rng rng(8);
  const auto list = collect_parameters<double>(random_toy<double>(2, FusionGranularity::layer, false, rng));
  EXPECT_THROW(clip_gradient_norm(list, 0.0), ConfigError);
  EXPECT_THROW(clip_gradient_norm(list, -1.0), ConfigError);
  EXPECT_THROW(clip_gradient_norm(list, std::nan("")), ConfigError);
}

}  // namespace
}  // namespace exfusion
