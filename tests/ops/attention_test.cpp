#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/ops/attention.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

TEST(Attention, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (bool causal : {false, true}) {
    for (Index tokens : {1, 3, 7, 17}) {
      for (const auto& [heads, d_head] : {std::pair{1, 1}, {3, 1}, {1, 7}, {2, 3}}) {
        const Index n_heads = heads;
        const auto qkv = Parameter<double>::normal({2, tokens, 3 * heads * d_head}, 1.0, rng);
        const auto result = testing::grad_check(
            [&](const Context<double>& ctx) { return attention(ctx, qkv, n_heads, causal); }, {qkv});
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

TEST(Attention, GradientMatchesDifferencesAcrossBlocks) {
  Rng rng(2);
  for (bool causal : {false, true}) {
    const auto qkv = Parameter<double>::normal({1, 131, 6}, 1.0, rng);
    const auto result = testing::grad_check(
        [&](const Context<double>& ctx) { return attention(ctx, qkv, 2, causal); }, {qkv});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Attention, ComputesTheSameWithAndWithoutATape) {
  Rng rng(4);
  const auto qkv = Parameter<float>::normal({2, 9, 24}, 1.0, rng);
  Tape<float> tape;
  const auto recorded = attention({.tape = &tape}, qkv, 2, true);
  const auto plain = attention(Context<float>{}, qkv, 2, true);
  EXPECT_TRUE(std::ranges::equal(recorded.values(), plain.values()));
  EXPECT_EQ(tape.size(), 1U);
  EXPECT_EQ(plain.shape(), (Shape{2, 9, 8}));
}

TEST(Attention, NamesTheHeadsThatDoNotDivideTheWidth) {
  const Context<float> ctx;
  const auto qkv = Tensor<float>::zeros({1, 4, 30});
  for (Index heads : {0, -1, 3, 11}) {
    try {
      attention(ctx, qkv, heads, true);
      FAIL() << heads << " heads were accepted";
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.what(), "[attention] n_heads = " + std::to_string(heads) +
                                  " must be at least 1 and divide d_model = 10");
    }
  }
}

TEST(Attention, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  EXPECT_THROW(attention(ctx, Tensor<float>::zeros({4, 30}), 1, true), ShapeError);
  EXPECT_THROW(attention(ctx, Tensor<float>::zeros({1, 4, 0}), 1, true), ShapeError);
  try {
    attention(ctx, Tensor<float>::zeros({1, 4, 31}), 1, true);
    FAIL() << "a last axis that is not 3D was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[attention] qkv is [1, 4, 31]: it must be [B, T, 3D]");
  }
  try {
    attention(ctx, Tensor<float>::zeros({1, 2, 3 * 257}), 1, true);
    FAIL() << "a head of 257 numbers was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(),
                 "[attention] d_head is 257 (qkv [1, 2, 771], n_heads 1): it can be at most 256");
  }
}

}  // namespace
}  // namespace exfusion
