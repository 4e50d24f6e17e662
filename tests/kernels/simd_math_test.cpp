#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/kernels/simd_math.hpp>

namespace exfusion::kernels {
namespace {

/// ExpBelowZero of x in every lane; the lanes agree.
template <class T>
T exp_in_all_lanes(T x, T scale = 1) {
  typename Simd<T>::Vector vector = x - typename Simd<T>::Vector{};
  ExpBelowZero<T>{scale}(vector);
  T lanes[Simd<T>::lanes];
  Simd<T>::store(vector, lanes);
  EXPECT_TRUE(std::isnan(lanes[0]) ||
              std::all_of(lanes, lanes + Simd<T>::lanes, [&](T lane) { return lane == lanes[0]; }))
      << x;
  return lanes[0];
}

TEST(SimdMath, ExpBelowZeroIsAccurate) {
  for (float scale : {1.0F, 0.125F, 0.37F}) {
    double worst = 0;
    for (float x = 0; x * scale >= -86; x -= 0.0007F) {
      const double power = static_cast<double>(scale) * static_cast<double>(x);
      const double error = std::abs(static_cast<double>(exp_in_all_lanes(x, scale)) / std::exp(power) - 1);
      worst = std::max(worst, error / (2e-7 + (scale == 1 ? 4e-8 : 8e-8) * std::abs(power)));
    }
    EXPECT_LE(worst, 1) << scale;
  }
}

TEST(SimdMath, ExpBelowZeroIsExactAtZeroAndAlmostNothingFarBelow) {
  EXPECT_EQ(exp_in_all_lanes(0.0F), 1.0F);
  EXPECT_EQ(exp_in_all_lanes(0.0F, 0.37F), 1.0F);
  for (float x : {-86.0F, -87.5F, -1e4F, -1e30F, -std::numeric_limits<float>::infinity()}) {
    EXPECT_GT(exp_in_all_lanes(x), 0.0F) << x;
    EXPECT_LE(exp_in_all_lanes(x), 4.6e-38F) << x;
  }
  EXPECT_TRUE(std::isnan(exp_in_all_lanes(std::numeric_limits<float>::quiet_NaN())));
}

TEST(SimdMath, ExpBelowZeroIsTheStandardLibrarysInDouble) {
  for (double x : {0.0, -0.3, -17.0, -700.0, -1e4}) {
    EXPECT_EQ(exp_in_all_lanes(x), std::exp(x));
    EXPECT_EQ(exp_in_all_lanes(x, 0.37), std::exp(0.37 * x));
  }
}

template <class T>
class StoreRounded : public ::testing::Test {};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(StoreRounded, Scalars);

// Every sign and exponent, the nearest numbers above and below, ties, infinity and NaN; numbers below the
// smallest normal one may become 0.
TYPED_TEST(StoreRounded, RoundsAsASingleNumberIsRounded) {
  constexpr int lanes = Simd<TypeParam>::lanes;
  std::vector<float> numbers;
  for (std::uint32_t high = 0; high < 1U << 16; high += 37) {
    for (std::uint32_t low : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU})
      numbers.push_back(std::bit_cast<float>(high << 16 | low));
  }
  for (float special : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
                        std::numeric_limits<float>::max(), -0.0F})
    numbers.push_back(special);
  numbers.resize((numbers.size() + lanes - 1) / lanes * lanes);
  for (std::size_t i = 0; i < numbers.size(); i += lanes) {
    TypeParam each[lanes];
    std::copy_n(numbers.begin() + static_cast<std::ptrdiff_t>(i), lanes, each);
    typename Simd<TypeParam>::Vector vector;
    Simd<TypeParam>::load(vector, each);
    Bfloat16 rounded[lanes];
    store_rounded<TypeParam>(vector, rounded);
    for (int lane = 0; lane < lanes; ++lane) {
      const float number = numbers[i + static_cast<std::size_t>(lane)];
      const Bfloat16 expected = Bfloat16::from(number);
      const auto zero = static_cast<std::uint16_t>(expected.bits & 0x8000U);
      if (std::isnan(number)) {
        EXPECT_TRUE(std::isnan(static_cast<float>(rounded[lane])));
      } else if (std::fpclassify(number) == FP_SUBNORMAL && rounded[lane].bits == zero) {
        continue;
      } else {
        EXPECT_EQ(rounded[lane].bits, expected.bits) << number;
      }
    }
  }
}

#if defined(__AVX512F__)
TEST(SimdMath, SquareRootsAreAccurateInEachLane) {
  const auto roots = [](float first, float factor, float* x) {
    Simd<float>::Vector vector;
    for (int lane = 0; lane < Simd<float>::lanes; ++lane, first *= factor) x[lane] = first;
    Simd<float>::load(vector, x);
    square_roots(vector);
    Simd<float>::store(vector, x + Simd<float>::lanes);
  };
  float x[2 * Simd<float>::lanes];
  double worst = 0;
  for (float first = 1e-37F; first < 1e36F; first *= 1.0173F) {
    roots(first, 1.0009F, x);
    for (int lane = 0; lane < Simd<float>::lanes; ++lane) {
      const double root = std::sqrt(static_cast<double>(x[lane]));
      worst = std::max(worst, std::abs(static_cast<double>(x[lane + Simd<float>::lanes]) / root - 1));
    }
  }
  EXPECT_LT(worst, 2e-7);
  for (const float same : {0.0F, 1.0F, std::numeric_limits<float>::infinity()}) {
    roots(same, 1, x);
    EXPECT_EQ(x[Simd<float>::lanes], same);
  }
  roots(std::numeric_limits<float>::quiet_NaN(), 1, x);
  EXPECT_TRUE(std::isnan(x[Simd<float>::lanes]));
}
#endif

}  // namespace
}  // namespace exfusion::kernels
