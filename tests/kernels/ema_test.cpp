#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/ema.hpp>

namespace exfusion {
namespace {

TEST(EmaKernel, AgreesWithTheFormulaForOddSizes) {
  Rng rng(1);
  for (Index size : {0, 1, 3, 7, 17, 40000}) {
    std::vector<float> average(static_cast<std::size_t>(size)), x(average.size());
    rng.fill_normal(std::span<float>(average), 0.0, 1.0);
    rng.fill_normal(std::span<float>(x), 0.0, 1.0);
    const auto before = average;
    kernels::Ema<float>::update(average.data(), x.data(), size, 0.25F);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(average[i], 0.75 * before[i] + 0.25 * x[i], 1e-6);
  }
}

}  // namespace
}  // namespace exfusion
