#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/bf16_moments.hpp>

namespace exfusion {
namespace {

using kernels::Bf16Moments;
using kernels::rounding_noise;
using kernels::rounding_seed;

/// The bfloat16 number that is `value` without its lower half, or the next one further from zero.
float neighbour(float value, std::uint32_t steps) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) & 0xFFFF0000U) + steps * 0x10000U);
}

TEST(Bf16Moments, AreRoundedToANeighbourSoThatTheMeanIsTheValue) {
  Rng rng(1);
  for (int i = 0; i < 20; ++i) {
    const auto m = static_cast<float>(std::ldexp(rng.normal(), 8 * (i - 10)));
    const auto v = static_cast<float>(std::ldexp(rng.uniform(), 8 * (10 - i)));
    double m_sum = 0, v_sum = 0;
    for (std::uint32_t half = 0; half < 0x10000U; ++half) {
      const auto moments = Bf16Moments::rounded(m, v, (half << 16) | (half ^ 0x5A5AU));
      ASSERT_TRUE(moments.m() == neighbour(m, 0) || moments.m() == neighbour(m, 1));
      ASSERT_TRUE(moments.v() == neighbour(v, 0) || moments.v() == neighbour(v, 1));
      m_sum += static_cast<double>(moments.m());
      v_sum += static_cast<double>(moments.v());
    }
    EXPECT_DOUBLE_EQ(m_sum / 0x10000, static_cast<double>(m));
    EXPECT_DOUBLE_EQ(v_sum / 0x10000, static_cast<double>(v));
  }
}

TEST(Bf16Moments, KeepNumbersThatNeedNoRoundingInfinityAndNan) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float nan = infinity - infinity;
  for (std::uint32_t random : {0U, 1U, 0x7FFF7FFFU, 0xFFFFFFFFU}) {
    for (float value : {0.0F, 1.0F, 3.5F, 0x1p-126F, infinity}) {
      const auto moments = Bf16Moments::rounded(-value, value, random);
      EXPECT_EQ(moments.m(), -value);
      EXPECT_EQ(moments.v(), value);
    }
    EXPECT_TRUE(std::isnan(Bf16Moments::rounded(nan, 0.0F, random).m()));
    EXPECT_TRUE(std::isnan(Bf16Moments::rounded(0.0F, nan, random).v()));
  }
  EXPECT_EQ(Bf16Moments{}.m(), 0.0F);
  EXPECT_EQ(Bf16Moments{}.v(), 0.0F);
}

/// Mean of both halves of `count` words as fractions, and whether all words differ.
template <class Word>
void expect_even(std::uint32_t count, const Word& word) {
  std::set<std::uint32_t> seen;
  double upper = 0, lower = 0, product = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t bits = word(i);
    seen.insert(bits);
    const double high = (bits >> 16) / 65536.0, low = (bits & 0xFFFFU) / 65536.0;
    upper += high / count;
    lower += low / count;
    product += (high - 0.5) * (low - 0.5) / count;
  }
  EXPECT_EQ(seen.size(), count);
  EXPECT_NEAR(upper, 0.5, 2 / std::sqrt(count));
  EXPECT_NEAR(lower, 0.5, 2 / std::sqrt(count));
  EXPECT_NEAR(product, 0.0, 0.5 / std::sqrt(count));
}

TEST(Bf16Moments, NoiseIsSpreadEvenlyOverElementsAndOverSteps) {
  for (std::uint32_t step : {0U, 1U, 2U, 1000U}) {
    expect_even(1000, [step](std::uint32_t i) { return rounding_noise(rounding_seed(step), i); });
  }
  for (std::uint32_t element : {0U, 1U, 77U, 4000000000U}) {
    expect_even(1000, [element](std::uint32_t i) { return rounding_noise(rounding_seed(i), element); });
  }
}

}  // namespace
}  // namespace exfusion
