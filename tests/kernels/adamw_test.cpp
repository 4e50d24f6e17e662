#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/adamw.hpp>
#include <exfusion/kernels/bf16_moments.hpp>

namespace exfusion {
namespace {

constexpr Index sizes[] = {1, 3, 7, 17, 1025, 40000};

const kernels::AdamWStep<float> step{.beta1 = 0.9F,
                                     .new1 = 0.1F,
                                     .beta2 = 0.99F,
                                     .new2 = 0.01F,
                                     .rate = 0.02F,
                                     .root_scale = 1.5F,
                                     .eps = 0.01F,
                                     .keep = 0.95F};

std::vector<float> random_numbers(Index size, Rng& rng) {
  std::vector<float> numbers(static_cast<std::size_t>(size));
  rng.fill_normal(std::span<float>(numbers), 0.0, 1.0);
  return numbers;
}

/// The same step in double, one number at a time.
double naive(double p, double g, double m, double v, double eps) {
  m = step.beta1 * m + step.new1 * g;
  v = step.beta2 * v + step.new2 * g * g;
  return step.keep * p - step.rate * m / (std::sqrt(v) * step.root_scale + eps);
}

TEST(AdamWKernel, AgreesWithTheNaiveStepForOddSizes) {
  Rng rng(1);
  for (Index size : sizes) {
    auto p = random_numbers(size, rng), m = random_numbers(size, rng), v = random_numbers(size, rng);
    const auto g = random_numbers(size, rng);
    for (float& value : v) value *= value;
    const auto p0 = p, m0 = m, v0 = v;
    kernels::AdamW<float>::update(p.data(), g.data(), m.data(), v.data(), size, step);
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_NEAR(p[i], naive(p0[i], g[i], m0[i], v0[i], step.eps), 1e-6);
      EXPECT_NEAR(m[i], 0.9 * m0[i] + 0.1 * g[i], 1e-6);
      const double square = 0.99 * v0[i] + 0.01 * g[i] * g[i];
      EXPECT_NEAR(v[i], square, 1e-6 * std::max(1.0, square));  // the last digit of a float of 16 is 2e-6
    }
  }
}

TEST(AdamWKernel, OneExpertHasItsMultipleOfTheGradientAndOfEps) {
  Rng rng(2);
  for (Index size : sizes) {
    auto p = random_numbers(size, rng), m = random_numbers(size, rng);
    std::vector<float> v(m.size(), 0.25F);
    const auto g = random_numbers(size, rng), p0 = p, m0 = m;
    kernels::AdamW<float>::update_expert(p.data(), g.data(), -0.3F, m.data(), v.data(), size, step);
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_NEAR(p[i], naive(p0[i], -0.3 * g[i], m0[i], 0.25, 0.3 * step.eps), 1e-6);
    }
  }
}

/// Moments in bfloat16 near to m and v.
std::vector<std::uint32_t> short_moments(const std::vector<float>& m, const std::vector<float>& v) {
  std::vector<std::uint32_t> bits;
  for (std::size_t i = 0; i < m.size(); ++i) {
    bits.push_back(kernels::Bf16Moments::rounded(m[i], v[i], 0x80008000U).bits);
  }
  return bits;
}

TEST(AdamWKernel, ShortMomentsGiveTheStepOfTheirValuesAndAreRoundedToANeighbour) {
  Rng rng(4);
  for (Index size : sizes) {
    auto p = random_numbers(size, rng), m = random_numbers(size, rng), v = random_numbers(size, rng);
    const auto g = random_numbers(size, rng);
    for (float& value : v) value *= value;
    auto moments = short_moments(m, v);
    for (std::size_t i = 0; i < m.size(); ++i) {
      const kernels::Bf16Moments both{moments[i]};
      m[i] = both.m();
      v[i] = both.v();
    }
    auto full = p;
    kernels::AdamW<float>::update_expert(p.data(), g.data(), -0.3F, moments.data(), size, step, 12345U);
    kernels::AdamW<float>::update_expert(full.data(), g.data(), -0.3F, m.data(), v.data(), size, step);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const kernels::Bf16Moments both{moments[i]};
      EXPECT_NEAR(p[i], full[i], 1e-6);
      EXPECT_NEAR(both.m(), m[i], 0x1p-7 * std::abs(m[i]));
      EXPECT_NEAR(both.v(), v[i], 0x1p-7 * v[i]);
    }
  }
}

// Cut where whole vectors end: the rest of a loop may round otherwise.
TEST(AdamWKernel, ShortMomentsDoNotDependOnHowTheWorkIsCut) {
  Rng rng(5);
  constexpr Index size = 1025, cut = 512;
  const auto g = random_numbers(size, rng);
  auto p = random_numbers(size, rng);
  auto moments = short_moments(random_numbers(size, rng), std::vector<float>(g.size(), 0.3F));
  auto p_in_parts = p;
  auto moments_in_parts = moments;
  kernels::AdamW<float>::update_expert(p.data(), g.data(), 0.5F, moments.data(), size, step, 77U);
  for (const auto& [begin, end] : {std::pair{Index{0}, cut}, std::pair{cut, size}}) {
    kernels::AdamW<float>::update_expert(p_in_parts.data() + begin, g.data() + begin, 0.5F,
                                         moments_in_parts.data() + begin, end - begin, step,
                                         77U + static_cast<std::uint32_t>(begin));
  }
  EXPECT_EQ(p, p_in_parts);
  EXPECT_EQ(moments, moments_in_parts);
}

// To the nearest bfloat16, 0.999 v would be v again: after a large gradient v would stay large for ever.
TEST(AdamWKernel, AShortSecondMomentFollowsSlowChangesOnAverage) {
  constexpr Index size = 4096;
  kernels::AdamWStep<float> slow = step;
  slow.beta2 = 0.999F;
  slow.new2 = 0.001F;
  const std::vector<float> g(size, 0.1F);
  std::vector<float> p(size, 0.0F);
  auto moments = short_moments(std::vector<float>(size, 0.0F), std::vector<float>(size, 1.0F));
  double expected = 1;
  for (std::uint32_t t = 1; t <= 2000; ++t) {
    kernels::AdamW<float>::update_expert(p.data(), g.data(), 1.0F, moments.data(), size, slow,
                                         kernels::rounding_seed(t));
    expected = 0.999 * expected + 0.001 * 0.01;
    if (t % 500 != 0) continue;
    double mean = 0, squares = 0;
    for (std::uint32_t bits : moments) {
      const auto v = static_cast<double>(kernels::Bf16Moments{bits}.v());
      mean += v / size;
      squares += (v - expected) * (v - expected) / size;
    }
    EXPECT_NEAR(mean, expected, 0.01 * expected) << t;
    EXPECT_LT(std::sqrt(squares), 0.1 * expected) << t;
  }
}

TEST(AdamWKernel, AllExpertsShareOneStepExceptForTheirWeightsSign) {
  Rng rng(3);
  const std::vector<float> a{0.5F, 0.0F, -0.25F};
  for (Index size : sizes) {
    const Index stride = size + 5;
    auto p = random_numbers(3 * stride, rng), m = random_numbers(size, rng);
    std::vector<float> v(m.size(), 0.25F);
    const auto g = random_numbers(size, rng), p0 = p, m0 = m;
    kernels::AdamW<float>::update_experts(p.data(), stride, a.data(), 3, g.data(), m.data(), v.data(), size,
                                          step);
    for (Index i = 0; i < 3; ++i) {
      const double sign = i == 0 ? 1 : i == 1 ? 0 : -1;
      for (Index j = 0; j < stride; ++j) {
        const auto k = static_cast<std::size_t>(i * stride + j), c = static_cast<std::size_t>(j);
        const double change = j < size ? naive(0, g[c], m0[c], 0.25, step.eps) : 0;
        EXPECT_NEAR(p[k], (j < size ? step.keep : 1.0F) * p0[k] + sign * change, 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace exfusion
