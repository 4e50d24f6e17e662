#include <gtest/gtest.h>

#include <exfusion/ops/embedding.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/ops/linear_cross_entropy.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

constexpr Index one_block = Index{1} << 23;

IntTensor random_targets(Shape shape, Index classes, Rng& rng) {
  IntTensor targets(shape);
  for (auto& target : targets.values()) target = static_cast<std::int32_t>(rng.below(classes));
  return targets;
}

TEST(LinearCrossEntropy, GradientMatchesDifferencesForOddSizesBlocksAndOptions) {
  Rng rng(1);
  for (Index rows : {1, 3, 7}) {
    for (Index classes : {1, 3, 17}) {
      for (Index d_in : {1, 7}) {
        for (Index most_logits : {one_block, Index{1}, 4 * classes}) {  // all rows, one, at most four
          const auto x = Parameter<double>::normal({2, rows, d_in}, 1.0, rng);
          const auto weight = Parameter<double>::normal({classes, d_in}, 1.0, rng);
          auto targets = random_targets({2, rows}, classes, rng);
          if (rows > 1) targets.data()[rows] = -100;
          const CrossEntropyOptions options{.label_smoothing = rows == 3 ? 0.1 : 0.0};
          const auto result = testing::grad_check(
              [&](const auto& ctx) {
                return linear_cross_entropy(ctx, x, weight, targets, options, most_logits);
              },
              {x, weight});
          EXPECT_TRUE(result) << result;
        }
      }
    }
  }
}

struct Pass {
  float loss = 0;
  std::vector<float> dx, dw;
};

/// One pass of `loss_of` and its gradients, which are forgotten afterwards.
template <class Loss>
Pass run(const Parameter<float>& x, const Parameter<float>& weight, const Loss& loss_of, float scale = 1) {
  Tape<float> tape;
  const Tensor<float> loss = loss_of(Context<float>{.tape = &tape, .training = true});
  tape.backward(loss, scale);
  Pass pass{loss.item(), testing::copy_of(x.grad()), testing::copy_of(weight.grad())};
  x.gradient()->clear();
  weight.gradient()->clear();
  return pass;
}

TEST(LinearCrossEntropy, GivesTheBitsOfTheTwoOperationsInOneBlock) {
  Rng rng(2);
  const auto x = testing::random_float({5, 13, 24}, rng), weight = testing::random_float({67, 24}, rng);
  auto targets = random_targets({5, 13}, 67, rng);
  targets.data()[20] = -1;
  const CrossEntropyOptions options{.ignore_index = -1, .label_smoothing = 0.2};
  const auto together = [&](const auto& ctx) {
    return linear_cross_entropy(ctx, x, weight, targets, options);
  };
  const auto apart = [&](const auto& ctx) {
    return cross_entropy(ctx, linear(ctx, x, weight), targets, options);
  };
  const Pass got = run(x, weight, together, 0.25F), expected = run(x, weight, apart, 0.25F);
  EXPECT_EQ(got.loss, expected.loss);
  EXPECT_EQ(got.dx, expected.dx);
  EXPECT_EQ(got.dw, expected.dw);
  EXPECT_EQ(together(Context<float>{}).item(), expected.loss);
}

TEST(LinearCrossEntropy, AgreesWithTheTwoOperationsInAnyBlocks) {
  Rng rng(3);
  const auto x = testing::random_float({2, 31, 24}, rng), weight = testing::random_float({67, 24}, rng);
  auto targets = random_targets({2, 31}, 67, rng);
  std::fill_n(targets.data() + 4, 20, -100);  // whole blocks of ignored targets
  const Pass expected =
      run(x, weight, [&](const auto& ctx) { return cross_entropy(ctx, linear(ctx, x, weight), targets); });
  for (Index block_rows : {1, 3, 31, 61}) {
    const auto in_blocks = [&](const auto& ctx) {
      return linear_cross_entropy(ctx, x, weight, targets, {}, block_rows * 67);
    };
    const Pass got = run(x, weight, in_blocks);
    EXPECT_NEAR(got.loss, expected.loss, 1e-6);
    testing::expect_close(got.dx, expected.dx, 1e-6);
    testing::expect_close(got.dw, expected.dw, 1e-6);
    EXPECT_EQ(in_blocks(Context<float>{}).item(), got.loss);
  }
}

TEST(LinearCrossEntropy, AddsToGradientsThatAreThereAlready) {
  Rng rng(4);
  const auto weight = Parameter<double>::normal({11, 5}, 1.0, rng);
  const auto ids = random_targets({3, 4}, 11, rng), targets = random_targets({3, 4}, 11, rng);
  const auto result = testing::grad_check(
      [&](const auto& ctx) {  // the weight is also the embedding, and x is used twice
        const auto x = embedding(ctx, ids, weight);
        ctx.tape->add_loss(linear_cross_entropy(ctx, x, weight, targets, {}, 33));
        return linear_cross_entropy(ctx, x, weight, targets, {.label_smoothing = 0.3}, 22);
      },
      {weight});
  EXPECT_TRUE(result) << result;
}

TEST(LinearCrossEntropy, LeavesOutTheGradientOfAConstant) {
  Rng rng(5);
  const auto x = Parameter<double>::normal({7, 3}, 1.0, rng);
  const auto weight = Parameter<double>::normal({5, 3}, 1.0, rng);
  const auto targets = random_targets({7}, 5, rng);
  const auto of_x = testing::grad_check(
      [&](const auto& ctx) { return linear_cross_entropy(ctx, x, weight.detach(), targets, {}, 10); }, {x});
  EXPECT_TRUE(of_x) << of_x;
  const auto of_weight = testing::grad_check(
      [&](const auto& ctx) { return linear_cross_entropy(ctx, x.detach(), weight, targets, {}, 10); },
      {weight});
  EXPECT_TRUE(of_weight) << of_weight;
}

TEST(LinearCrossEntropy, IsTheSameForAllThreadCounts) {
  Rng rng(6);
  const auto x = testing::random_float({300, 40}, rng), weight = testing::random_float({501, 40}, rng);
  const auto targets = random_targets({300}, 501, rng);
  for (Index most_logits : {one_block, Index{501 * 128}}) {
    testing::expect_same_bits_for_all_thread_counts([&] {
      Pass pass = run(x, weight, [&](const auto& ctx) {
        return linear_cross_entropy(ctx, x, weight, targets, {.label_smoothing = 0.1}, most_logits);
      });
      pass.dx.insert(pass.dx.end(), pass.dw.begin(), pass.dw.end());
      pass.dx.push_back(pass.loss);
      return pass.dx;
    });
  }
}

TEST(LinearCrossEntropy, HoldsOnlyOneBlockOfLogits) {
  Rng rng(7);
  const Index rows = 512, classes = 4096;  // 8 MiB of logits
  const auto x = testing::random_float({rows, 8}, rng), weight = testing::random_float({classes, 8}, rng);
  const auto targets = random_targets({rows}, classes, rng);
  Tape<float> tape;
  tape.backward(linear_cross_entropy({.tape = &tape}, x, weight, targets, {}, 32 * classes));
  EXPECT_LE(tape.arena().reserved_bytes(), std::size_t{2} << 20);  // one block is half a MiB
}

TEST(LinearCrossEntropy, NamesWhatDoesNotFit) {
  const Context<float> ctx;
  const auto x = Tensor<float>::zeros({2, 2, 5}), weight = Tensor<float>::zeros({10, 5});
  const IntTensor targets({2, 2}, {0, 1, 9, 2});
  try {
    linear_cross_entropy(ctx, x, weight, IntTensor({4}, {0, 1, 2, 3}));
    FAIL() << "targets of the wrong shape were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(
        error.what(),
        "[linear_cross_entropy] x is [2, 2, 5] and targets is [4]: x must have the targets' axes and "
        "one of D");
  }
  try {
    linear_cross_entropy(ctx, x, weight, IntTensor({2, 2}, {0, 1, 10, 2}));
    FAIL() << "a target outside the classes was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[linear_cross_entropy] targets[1, 0] is 10: it must lie in [0, 10)");
  }
  EXPECT_THROW(linear_cross_entropy(ctx, x, Tensor<float>::zeros({10, 4}), targets), ShapeError);
  EXPECT_THROW(linear_cross_entropy(ctx, x, Tensor<float>::zeros({5}), targets), ShapeError);
  EXPECT_THROW(linear_cross_entropy(ctx, x, weight, IntTensor()), ShapeError);
  EXPECT_THROW(linear_cross_entropy(ctx, x, weight, targets, {.label_smoothing = -0.1}), ConfigError);
  EXPECT_THROW(linear_cross_entropy(ctx, x, weight, targets, {}, 0), ConfigError);
  EXPECT_THROW(linear_cross_entropy(ctx, x, weight, IntTensor({2, 2}, {-100, -100, -100, -100})), Error);
}

}  // namespace
}  // namespace exfusion
