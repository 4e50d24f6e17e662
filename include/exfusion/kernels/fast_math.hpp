#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

// Elementary functions without branches, so that compilers vectorise the loops around them. In double they
// are the standard library's.

namespace exfusion::kernels {

inline double fast_exp(double x) { return std::exp(x); }
inline double fast_tanh(double x) { return std::tanh(x); }
inline double fast_erf(double x) { return std::erf(x); }
inline double fast_sqrt(double x) { return std::sqrt(x); }

/// e^x with a relative error below 3e-7, infinity above 88.72, 0 below -103.97; NaN stays NaN.
[[gnu::always_inline]] inline float fast_exp(float x) {
  x = x < -104.0F ? -104.0F : x;
  x = x > 89.0F ? 89.0F : x;
  // x = n ln 2 + r with |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to an integer, kept in the low bits.
  constexpr float magic = 12582912.0F;
  const float shifted = x * 1.44269504088896341F + magic;
  const float n = shifted - magic;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  // Chebyshev approximation of (e^r - 1 - r) / r^2.
  float p = 1.39261818105e-3F;
  p = p * r + 8.36317762999e-3F;
  p = p * r + 4.16665546279e-2F;
  p = p * r + 1.66665769982e-1F;
  p = p * r + 0.5F;
  p = p * r * r + r + 1.0F;
  // 2^n in two factors, since n may lie outside the exponents of normal numbers.
  const auto whole = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - 0x4B400000U);
  const std::int32_t half = whole >> 1;
  const auto power = [](std::int32_t exponent) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
  };
  return p * power(half) * power(whole - half);
}

/// tanh x with a relative error below 5e-7; NaN stays NaN.
[[gnu::always_inline]] inline float fast_tanh(float x) {
  x = x < -9.0F ? -9.0F : x;
  x = x > 9.0F ? 9.0F : x;
  // Rational approximation of smallest largest relative error on [-9, 9].
  const float s = x * x;
  float p = 1.340663582e-8F;
  p = p * s + 2.064650057e-5F;
  p = p * s + 3.49786083e-3F;
  p = p * s + 1.338293952e-1F;
  p = p * s + 9.999999804e-1F;
  float q = 7.797798439e-7F;
  q = q * s + 3.289351916e-4F;
  q = q * s + 2.588562898e-2F;
  q = q * s + 4.671625569e-1F;
  q = q * s + 1.0F;
  return x * p / q;
}

/// erf x with a relative error below 5e-7; NaN stays NaN.
[[gnu::always_inline]] inline float fast_erf(float x) {
  x = x < -3.95F ? -3.95F : x;
  x = x > 3.95F ? 3.95F : x;
  // Rational approximation of smallest largest relative error on [-3.95, 3.95].
  const float s = x * x;
  float p = 2.036184214e-6F;
  p = p * s + 2.847441226e-4F;
  p = p * s + 3.78926797e-3F;
  p = p * s + 5.281895295e-2F;
  p = p * s + 1.910461302e-1F;
  p = p * s + 1.128379145F;
  float q = 3.794096434e-5F;
  q = q * s + 1.167035418e-3F;
  q = q * s + 1.50169367e-2F;
  q = q * s + 1.143604746e-1F;
  q = q * s + 5.026429324e-1F;
  q = q * s + 1.0F;
  return x * p / q;
}

/// 1 / (1 + e^-x); NaN stays NaN.
template <class T>
[[gnu::always_inline]] inline T fast_sigmoid(T x) {
  return 1 / (1 + fast_exp(-x));
}

/// The square root of x >= 0 with a relative error below 2e-7 for normal x; infinity and NaN stay what they
/// are. Unlike std::sqrt it vectorises wherever errno is kept.
[[gnu::always_inline]] inline float fast_sqrt(float x) {
  // 1 / sqrt x from the halved exponent (within 4 %), then Newton's steps, of which each about squares the
  // error; the last one corrects the root itself.
  auto inverse = std::bit_cast<float>(0x5F375A86U - (std::bit_cast<std::uint32_t>(x) >> 1));
  inverse *= 1.5F - 0.5F * x * inverse * inverse;
  inverse *= 1.5F - 0.5F * x * inverse * inverse;
  const float root = x * inverse;
  const float corrected = root + 0.5F * inverse * (x - root * root);
  return x <= std::numeric_limits<float>::max() ? corrected : x;
}

}  // namespace exfusion::kernels
