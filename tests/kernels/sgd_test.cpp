#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/sgd.hpp>

namespace exfusion {
namespace {

constexpr Index sizes[] = {1, 3, 7, 17, 1025, 40000};

std::vector<float> random_numbers(Index size, Rng& rng) {
  std::vector<float> numbers(static_cast<std::size_t>(size));
  rng.fill_normal(std::span<float>(numbers), 0.0, 1.0);
  return numbers;
}

/// One number's step in double; returns what is subtracted from p.
double naive_change(double gradient, double momentum_before, const kernels::SgdStep<float>& step) {
  const double momentum = step.momentum * momentum_before + gradient;
  return step.rate * (step.nesterov ? gradient + step.momentum * momentum : momentum);
}

TEST(SgdKernel, AgreesWithTheNaiveStepForOddSizes) {
  Rng rng(1);
  for (Index size : sizes) {
    for (bool nesterov : {false, true}) {
      const kernels::SgdStep<float> step{.rate = 0.2F, .decay = 0.1F, .momentum = 0.9F, .nesterov = nesterov};
      auto p = random_numbers(size, rng), buffer = random_numbers(size, rng);
      const auto g = random_numbers(size, rng), p0 = p, buffer0 = buffer;
      kernels::Sgd<float>::update(p.data(), g.data(), buffer.data(), size, step);
      for (std::size_t i = 0; i < p.size(); ++i) {
        EXPECT_NEAR(p[i], p0[i] - naive_change(g[i] + step.decay * p0[i], buffer0[i], step), 2e-6);
      }
    }
  }
}

TEST(SgdKernel, WorksWithoutMomentum) {
  Rng rng(2);
  const kernels::SgdStep<float> step{.rate = 0.2F, .decay = 0.1F, .momentum = 0, .nesterov = false};
  for (Index size : sizes) {
    auto p = random_numbers(size, rng);
    const auto g = random_numbers(size, rng), p0 = p;
    kernels::Sgd<float>::update(p.data(), g.data(), nullptr, size, step);
    for (std::size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(p[i], p0[i] * 0.98 - 0.2 * g[i], 1e-6);
  }
}

TEST(SgdKernel, AllExpertsMoveByTheirMultipleOfOneStep) {
  Rng rng(3);
  const std::vector<float> a{0.5F, 0.0F, -0.25F};
  for (Index size : sizes) {
    for (bool nesterov : {false, true}) {
      const kernels::SgdStep<float> step{.rate = 0.2F, .decay = 0, .momentum = 0.9F, .nesterov = nesterov};
      const Index stride = size + 5;
      auto p = random_numbers(3 * stride, rng), buffer = random_numbers(size, rng);
      const auto g = random_numbers(size, rng), p0 = p, buffer0 = buffer;
      kernels::Sgd<float>::update_experts(p.data(), stride, a.data(), 3, g.data(), buffer.data(), size, step);
      for (Index i = 0; i < 3; ++i) {
        for (Index j = 0; j < stride; ++j) {
          const auto k = static_cast<std::size_t>(i * stride + j), c = static_cast<std::size_t>(j);
          const double change = j < size ? naive_change(g[c], buffer0[c], step) : 0;
          EXPECT_NEAR(p[k], p0[k] - a[static_cast<std::size_t>(i)] * change, 2e-6);
        }
      }
    }
  }
}

}  // namespace
}  // namespace exfusion
