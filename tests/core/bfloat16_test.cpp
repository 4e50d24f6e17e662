#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/rng.hpp>

namespace exfusion {
namespace {

float rounded(float value) { return static_cast<float>(Bfloat16::from(value)); }

// Rounding by definition: to a multiple of 2^(exponent - 7), ties to even.
float rounded_by_definition(float value) {
  int exponent = 0;
  std::frexp(value, &exponent);
  const float unit = std::ldexp(1.0F, std::max(exponent, -125) - 8);
  return std::nearbyint(value / unit) * unit;
}

TEST(Bfloat16, RoundsToTheNearestWithTiesToEven) {
  EXPECT_EQ(rounded(1.0F), 1.0F);
  EXPECT_EQ(rounded(1.0F + 0x1p-8F), 1.0F);                // a tie, down to even
  EXPECT_EQ(rounded(1.0F + 3 * 0x1p-8F), 1.0F + 0x1p-6F);  // a tie, up to even
  EXPECT_EQ(rounded(1.0F + 0x1p-8F + 0x1p-20F), 1.0F + 0x1p-7F);
  EXPECT_EQ(rounded(-1.0F - 3 * 0x1p-8F), -1.0F - 0x1p-6F);
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    float value = 0;
    rng.fill_normal(std::span<float>(&value, 1), 0.0, 1.0);
    value *= std::ldexp(1.0F, static_cast<int>(rng.below(200)) - 100);
    EXPECT_EQ(rounded(value), rounded_by_definition(value)) << value;
  }
}

TEST(Bfloat16, KeepsZeroSubnormalsInfinitiesAndNan) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Bfloat16::from(0.0F).bits, 0x0000);
  EXPECT_EQ(Bfloat16::from(-0.0F).bits, 0x8000);
  EXPECT_EQ(rounded(0x1p-133F), 0x1p-133F);
  EXPECT_EQ(rounded(infinity), infinity);
  EXPECT_EQ(rounded(-infinity), -infinity);
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), infinity);
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  // A NaN whose payload lies in the lower half alone must not become an infinity.
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7F800001U))));
}

}  // namespace
}  // namespace exfusion
