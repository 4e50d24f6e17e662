#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

IntTensor random_targets(Shape shape, Index classes, Rng& rng) {
  IntTensor targets(shape);
  for (auto& target : targets.values()) target = static_cast<std::int32_t>(rng.below(classes));
  return targets;
}

struct Naive {
  double loss = 0;
  std::vector<double> gradient;
};

// The definition, in double: the mean over counted rows of -sum over v of q_v log p_v with q_v = (1 - s)
// [v = target] + s / V.
Naive naive_cross_entropy(const Tensor<float>& logits, const IntTensor& targets,
                          CrossEntropyOptions options) {
  const Index classes = logits.shape()[-1];
  double counted = 0;
  for (auto target : targets.values()) counted += target == options.ignore_index ? 0 : 1;
  Naive result;
  for (Index row = 0; row < targets.size(); ++row) {
    const float* z = logits.data() + row * classes;
    const std::int32_t target = targets.data()[row];
    long double sum = 0;
    for (Index v = 0; v < classes; ++v) sum += std::exp(static_cast<long double>(z[v]));
    for (Index v = 0; v < classes; ++v) {
      const auto log_p = static_cast<double>(static_cast<long double>(z[v]) - std::log(sum));
      const double q = (v == target ? 1 - options.label_smoothing : 0) +
                       options.label_smoothing / static_cast<double>(classes);
      const bool ignored = target == options.ignore_index;
      result.loss -= ignored ? 0 : q * log_p / counted;
      result.gradient.push_back(ignored ? 0 : (std::exp(log_p) - q) / counted);
    }
  }
  return result;
}

TEST(CrossEntropy, GradientMatchesDifferencesForOddSizesSmoothingAndIgnoredTargets) {
  Rng rng(1);
  for (double smoothing : {0.0, 0.1}) {
    for (Index rows : {1, 3, 7}) {
      for (Index classes : {1, 3, 7, 17}) {
        const auto logits = Parameter<double>::normal({2, rows, classes}, 2.0, rng);
        auto targets = random_targets({2, rows}, classes, rng);
        if (rows > 1) targets.data()[rows] = -100;
        const CrossEntropyOptions options{.label_smoothing = smoothing};
        const auto result = testing::grad_check(
            [&](const auto& ctx) { return cross_entropy(ctx, logits, targets, options); }, {logits});
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

TEST(CrossEntropy, MatchesTheDefinitionInSinglePrecision) {
  Rng rng(2);
  for (Index classes : {2, 65, 5003}) {
    for (double smoothing : {0.0, 0.1, 1.0}) {
      const auto logits = testing::random_float({23, classes}, rng, 4.0);
      auto targets = random_targets({23}, classes, rng);
      targets.data()[4] = 1;
      const CrossEntropyOptions options{.ignore_index = 1, .label_smoothing = smoothing};
      const auto loss = testing::run_backward<float>(
          [&](const auto& ctx) { return cross_entropy(ctx, logits, targets, options); }, {1.0F});
      const Naive naive = naive_cross_entropy(logits, targets, options);
      EXPECT_NEAR(static_cast<double>(loss.item()), naive.loss, 1e-6 * (1 + naive.loss));
      testing::expect_close(logits.grad(), naive.gradient, 1e-7);
      logits.gradient()->clear();
    }
  }
}

TEST(CrossEntropy, IsStableForLargeLogitsAndMaskedClasses) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Context<float> ctx;
  const auto large = Tensor<float>::from({2, 3}, {1e4F, 1e4F, -1e4F, -1e4F, -1e4F, -1e4F});
  EXPECT_NEAR(static_cast<double>(cross_entropy(ctx, large, IntTensor({2}, {0, 1})).item()),
              (std::log(2.0) + std::log(3.0)) / 2, 1e-6);
  auto masked = Tensor<float>::zeros({1, 5000});
  std::fill_n(masked.data(), 4998, -infinity);
  EXPECT_NEAR(static_cast<double>(cross_entropy(ctx, masked, IntTensor({1}, {4999})).item()), std::log(2.0),
              1e-6);
  masked.data()[4999] = -300.0F;
  masked.data()[4998] = -300.0F;
  EXPECT_NEAR(static_cast<double>(cross_entropy(ctx, masked, IntTensor({1}, {4999})).item()), std::log(2.0),
              1e-6);
}

TEST(CrossEntropy, LetsNotANumberThrough) {
  auto logits = Tensor<float>::zeros({2, 3000});
  logits.data()[4000] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(cross_entropy(Context<float>{}, logits, IntTensor({2}, {0, 1})).item()));
}

TEST(CrossEntropy, IsTheSameForAllThreadCounts) {
  Rng rng(3);
  const auto logits = testing::random_float({700, 130}, rng);
  const auto targets = random_targets({700}, 130, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    logits.gradient()->clear();
    const auto loss = testing::run_backward<float>(
        [&](const auto& ctx) { return cross_entropy(ctx, logits, targets, {.label_smoothing = 0.1}); },
        {1.0F});
    auto all = testing::copy_of(logits.grad());
    all.push_back(loss.item());
    return all;
  });
}

TEST(CrossEntropy, NamesWhatDoesNotFit) {
  const Context<float> ctx;
  const auto logits = Tensor<float>::zeros({2, 2, 10});
  try {
    cross_entropy(ctx, logits, IntTensor({2, 2}, {0, 1, 10, 2}));
    FAIL() << "a label outside the classes was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[cross_entropy] targets[1, 0] is 10: it must lie in [0, 10)");
  }
  try {
    cross_entropy(ctx, logits, IntTensor({4}, {0, 1, 2, 3}));
    FAIL() << "targets of the wrong shape were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(
        error.what(),
        "[cross_entropy] logits is [2, 2, 10] and targets is [4]: logits must have the targets' axes "
        "and one of classes");
  }
  EXPECT_THROW(cross_entropy(ctx, logits, IntTensor({2, 2}, {0, 1, -1, 2})), Error);
  EXPECT_THROW(cross_entropy(ctx, logits, IntTensor({2, 2}, {-100, -100, -100, -100})), Error);
  EXPECT_THROW(cross_entropy(ctx, logits, IntTensor({2, 2}, {0, 1, 2, 3}), {.label_smoothing = 1.1}),
               ConfigError);
}

TEST(CrossEntropy, OfMixedTargetsIsTheMeanOfBoth) {
  Rng rng(8);
  for (double smoothing : {0.0, 0.1}) {
    for (Index rows : {1, 3, 7, 17}) {
      const auto logits = Parameter<double>::normal({rows, 7}, 2.0, rng);
      const MixedTargets mixed{random_targets({rows}, 7, rng), random_targets({rows}, 7, rng), 0.3};
      const CrossEntropyOptions options{.label_smoothing = smoothing};
      const auto loss = [&](const auto& ctx, const auto& targets) {
        return cross_entropy(ctx, logits, targets, options);
      };
      const Context<double> none;
      EXPECT_NEAR(loss(none, mixed).item(),
                  0.3 * loss(none, mixed.first).item() + 0.7 * loss(none, mixed.second).item(), 1e-12);
      const auto result = testing::grad_check([&](const auto& ctx) { return loss(ctx, mixed); }, {logits});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(CrossEntropy, OfMixedTargetsWithTheWholeShareIsThePlainOneToTheBit) {
  Rng rng(9);
  const auto logits = testing::random_float({5, 11}, rng, 2.0);
  const auto targets = random_targets({5}, 11, rng);
  const auto run = [&](const auto& chosen) {
    const auto loss = testing::run_backward<float>(
        [&](const auto& ctx) { return cross_entropy(ctx, logits, chosen); }, {1.0F});
    std::vector<float> numbers(logits.grad().begin(), logits.grad().end());
    numbers.push_back(loss.item());
    logits.gradient()->clear();
    return numbers;
  };
  EXPECT_EQ(run(targets), run(MixedTargets{targets, {}, 1}));
  EXPECT_EQ(run(targets), run(MixedTargets{targets, random_targets({5}, 11, rng), 1}));
}

TEST(CrossEntropy, OfMixedTargetsThrowsWhenTheyDoNotFit) {
  Rng rng(10);
  const auto logits = testing::random_float({5, 11}, rng, 2.0);
  const auto targets = random_targets({5}, 11, rng);
  const Context<float> ctx;
  EXPECT_THROW(cross_entropy(ctx, logits, MixedTargets{targets, random_targets({4}, 11, rng), 0.5}),
               ShapeError);
  EXPECT_THROW(cross_entropy(ctx, logits, MixedTargets{targets, targets, 1.5}), ConfigError);
  EXPECT_THROW(cross_entropy(ctx, logits, MixedTargets{targets, targets, std::nan("")}), ConfigError);
  auto outside = random_targets({5}, 11, rng);
  outside.data()[2] = 11;
  EXPECT_THROW(cross_entropy(ctx, logits, MixedTargets{targets, outside, 0.5}), Error);
}

}  // namespace
}  // namespace exfusion
