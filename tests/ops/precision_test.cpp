// Linear operations in bf16: the same as in full precision on rounded factors.

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/linear.hpp>
#include <exfusion/ops/linear.hpp>
#include <exfusion/ops/linear_cross_entropy.hpp>
#include <exfusion/ops/sparse_moe.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/ema.hpp>
#include <exfusion/optim/sgd.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

using testing::copy_of, testing::expect_close, testing::random_values, testing::rounded,
    testing::run_backward;

constexpr Precision bf16 = Precision::bf16;

TEST(Precision, LinearInBf16IsThatOfRoundedFactorsForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 17}) {
    for (Index d_in : {1, 7, 17}) {
      const Index d_out = 5;
      const auto x = Parameter<double>::normal({rows, d_in}, 1.0, rng);
      const auto weight = Parameter<double>::normal({d_out, d_in}, 1.0, rng);
      const auto bias = Parameter<double>::normal({d_out}, 1.0, rng);
      const auto dy = random_values<double>(rows * d_out, rng);
      const auto y = run_backward<double>([&](const auto& ctx) { return linear(ctx, x, weight, bias); }, dy,
                                          nullptr, bf16);
      const auto rounded_x = rounded(x), rounded_weight = rounded(weight);
      const Parameter<double> same_bias = bias;
      const auto expected = run_backward<double>(
          [&](const auto& ctx) { return linear(ctx, rounded_x, rounded_weight, same_bias); }, rounded(dy));
      expect_close(y.values(), expected.values(), 1e-14);
      expect_close(weight.grad(), rounded_weight.grad(), 1e-14);
      expect_close(x.grad(), rounded_x.grad(), 1e-14);
      // The bias's gradient is summed up in full precision.
      for (Index j = 0; j < d_out; ++j) {
        double sum = 0;
        for (Index row = 0; row < rows; ++row) sum += dy[static_cast<std::size_t>(row * d_out + j)];
        EXPECT_NEAR(bias.grad()[static_cast<std::size_t>(j)], sum, 1e-14);
      }
    }
  }
}

TEST(Precision, LinearWithoutATapeRoundsToo) {
  Rng rng(2);
  const auto x = Parameter<double>::normal({3, 7}, 1.0, rng),
             weight = Parameter<double>::normal({2, 7}, 1.0, rng);
  const auto y = linear(Context<double>{.precision = bf16}, x.detach(), weight.detach());
  expect_close(y.values(), linear(Context<double>{}, rounded(x), rounded(weight)).values(), 1e-14);
}

// Two blocks of logits: the second one's are still there in the backward pass, the first one's are computed
// again.
TEST(Precision, LinearCrossEntropyInBf16AgreesWithTheTwoOperations) {
  Rng rng(3);
  const auto x = Parameter<double>::normal({5, 17}, 1.0, rng);
  const auto weight = Parameter<double>::normal({7, 17}, 1.0, rng);
  IntTensor targets(Shape{5});
  for (std::int32_t& target : targets.values()) target = static_cast<std::int32_t>(rng.below(7));
  const auto one = run_backward<double>(
      [&](const auto& ctx) { return linear_cross_entropy(ctx, x, weight, targets, {}, 3 * 7); }, {1.0},
      nullptr, bf16);
  const Parameter<double> x2 = x, weight2 = weight;
  const auto two = run_backward<double>(
      [&](const auto& ctx) { return cross_entropy(ctx, linear(ctx, x2, weight2), targets); }, {1.0}, nullptr,
      bf16);
  EXPECT_NEAR(one.item(), two.item(), 1e-14);
  expect_close(x.grad(), x2.grad(), 1e-14);
  expect_close(weight.grad(), weight2.grad(), 1e-14);
}

TEST(Precision, GroupedLinearInBf16IsThatOfRoundedFactors) {
  Rng rng(4);
  const auto p = Parameter<double>::normal({6, 3}, 1.0, rng);
  const auto x = Parameter<double>::normal({12, 7}, 1.0, rng);
  const auto weight = Parameter<double>::normal({3, 5, 7}, 1.0, rng);
  const auto bias = Parameter<double>::normal({3, 5}, 1.0, rng);
  const auto dy = random_values<double>(12 * 5, rng);
  const auto run = [&](const auto& inputs, const auto& weights, const auto& gradient, Precision precision) {
    const Parameter<double> biases = bias;
    return run_backward<double>(
        [&](const auto& ctx) {
          const auto routing = ops::route(ctx, p.detach(), 2);
          return ops::grouped_linear(ctx, inputs, weights, biases, routing);
        },
        gradient, nullptr, precision);
  };
  const auto rounded_x = rounded(x), rounded_weight = rounded(weight);
  const auto y = run(x, weight, dy, bf16);
  expect_close(y.values(), run(rounded_x, rounded_weight, rounded(dy), Precision::fp32).values(), 1e-14);
  expect_close(x.grad(), rounded_x.grad(), 1e-14);
  expect_close(weight.grad(), rounded_weight.grad(), 1e-14);
}

TEST(Precision, ARoundedWeightFollowsTheWeight) {
  Rng rng(5);
  Linear<float> layer(7, 3, 1.0, rng, false);
  const auto x = Tensor<float>::from({1, 7}, std::vector<float>(7, 1.0F));
  const auto output = [&] {
    return copy_of(linear(Context<float>{.precision = bf16}, x, layer.weight).values());
  };
  const auto first = output();
  EXPECT_EQ(output(), first);
  layer.weight.values()[0] += 1;  // by hand
  const auto second = output();
  EXPECT_NEAR(second[0], first[0] + 1, 0.02);

  AdamW<float> optimizer(layer, {.lr = 0.5});
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape, .training = true, .precision = bf16};
  const auto y = linear(ctx, x, layer.weight);
  const auto loss = ctx.output(Shape{}, y);
  *loss.data() = 0;
  const std::vector<float> ones(3, 1.0F);
  ctx.record(loss, testing::SeedNode<float>{y, ones});
  tape.backward(loss);
  optimizer.step();
  EXPECT_LT(output()[0], second[0] - 1);

  const Linear<float> copy = layer;  // has a rounded copy of its own
  layer.weight.values()[0] += 8;
  EXPECT_NEAR(linear(Context<float>{.precision = bf16}, x, copy.weight).values()[0], output()[0] - 8, 0.1);
}

/// Whether every copy that has been made holds the weight's present numbers.
bool is_rounded(const Tensor<float>& weight) {
  const RoundedCopy& copy = *weight.rounded_copy();
  if (!copy.is_made() || !copy.is_current) return false;
  for (Index i = 0; i < weight.size(); ++i) {
    if (copy.values[i] != Bfloat16::from(weight.data()[i])) return false;
  }
  return true;
}

// In the pass that changes them: the next forward pass has nothing to round.
template <class Optimizer>
void expect_rounded_by(Rng& rng) {
  const Gpt<float> dense({.vocab_size = 7, .context = 5, .layers = 1, .heads = 1, .d_model = 17}, rng);
  const auto model = upcycle(dense, {.experts = 3}, rng);
  Optimizer optimizer(model, {.lr = 0.1});
  const IntTensor tokens(Shape{2, 5});
  std::ranges::fill(tokens.values(), 3);
  Tape<float> tape;
  for (int step = 0; step < 2; ++step) {
    const Context<float> ctx{.tape = &tape, .training = true, .precision = bf16};
    tape.backward(model.loss(ctx, tokens, tokens));
    tape.clear();
    optimizer.step();
  }
  const ParameterList<float>& list = optimizer.parameters();
  for (const auto& parameter : list.parameters) {
    const bool is_factor = parameter.name == "wte" || (parameter.tensor.shape().rank() == 2 &&
                                                       parameter.name.find("attention") != std::string::npos);
    if (is_factor) {
      EXPECT_TRUE(is_rounded(parameter.tensor)) << parameter.name;
    }
  }
  const ExpertSlab<float>& slab = list.slabs.at(0).slab;
  ASSERT_TRUE(slab.is_fused());
  for (std::size_t i = 0; i < slab.segments().size(); ++i) {
    if (slab.segments()[i].shape.rank() == 2) {
      EXPECT_TRUE(is_rounded(slab.fused(i))) << slab.segments()[i].name;
    }
  }
}

TEST(Precision, OptimizersRoundTheWeightsThatTheyChange) {
  Rng rng(7);
  expect_rounded_by<AdamW<float>>(rng);
  expect_rounded_by<Sgd<float>>(rng);
}

TEST(Precision, ARoundedWeightFollowsAveragesCopiedIntoTheModel) {
  Rng rng(8);
  Linear<float> layer(7, 3, 1.0, rng, false);
  const Ema<float> average(layer);
  const auto x = Tensor<float>::from({1, 7}, std::vector<float>(7, 1.0F));
  const auto output = [&] {
    return copy_of(linear(Context<float>{.precision = bf16}, x, layer.weight).values());
  };
  const auto before = output();
  layer.weight.values()[0] += 4;
  EXPECT_NE(output(), before);
  average.copy_to(layer);
  EXPECT_EQ(output(), before);
}

TEST(Precision, Bf16GivesTheSameBitsForAnyNumberOfThreads) {
  testing::expect_same_bits_for_all_thread_counts([] {
    Rng rng(6);
    const auto x = testing::random_float({130, 65}, rng), weight = testing::random_float({97, 65}, rng);
    const auto dy = random_values<float>(130 * 97, rng);
    auto result = copy_of(
        run_backward<float>([&](const auto& ctx) { return linear(ctx, x, weight); }, dy, nullptr, bf16)
            .values());
    result.insert(result.end(), weight.grad().begin(), weight.grad().end());
    result.insert(result.end(), x.grad().begin(), x.grad().end());
    return result;
  });
}

}  // namespace
}  // namespace exfusion
