#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/norm.hpp>

namespace exfusion {
namespace {

TEST(NormKernel, SumsSquaresInDoubleForOddSizes) {
  Rng rng(1);
  for (Index size : {0, 1, 3, 7, 17, 4097, 1000003}) {
    std::vector<float> x(static_cast<std::size_t>(size));
    rng.fill_normal(std::span<float>(x), 0.0, 1.0);
    double expected = 0;
    for (float value : x) expected += static_cast<double>(value) * static_cast<double>(value);
    EXPECT_NEAR(kernels::Norm<float>::sum_of_squares(x.data(), size), expected, 1e-12 * expected);
  }
}

TEST(NormKernel, ScalesEveryNumber) {
  for (Index size : {1, 3, 7, 17, 40001}) {
    std::vector<double> x(static_cast<std::size_t>(size), 3.0);
    kernels::Norm<double>::scale(x.data(), size, 0.5);
    for (double value : x) EXPECT_EQ(value, 1.5);
  }
}

}  // namespace
}  // namespace exfusion
