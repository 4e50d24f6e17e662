#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion::kernels {
namespace {

std::vector<float> random_numbers(Index count, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  Rng(seed).fill_normal(std::span<float>(values), 0.0, 2.0);
  return values;
}

std::vector<double> numbers_of(const std::vector<Bfloat16>& values) {
  std::vector<double> numbers(values.size());
  std::ranges::transform(values, numbers.begin(), [](Bfloat16 value) { return static_cast<float>(value); });
  return numbers;
}

std::vector<Bfloat16> all_numbers() {
  std::vector<Bfloat16> all(1 << 16);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  return all;
}

class GeluBackwardAgain : public ::testing::TestWithParam<GeluForm> {
 protected:
  template <class Body>
  static void for_each_shape(const Body& body) {
    for (Index rows : {0, 1, 3, 7, 17, 130}) {
      for (Index columns : {1, 3, 7, 17, 300}) body(rows, columns);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Forms, GeluBackwardAgain, ::testing::Values(GeluForm::tanh, GeluForm::erf));

TEST_P(GeluBackwardAgain, IsGeluAndItsGradientAndTheSumOfThis) {
  for_each_shape([](Index rows, Index columns) {
    const Index size = rows * columns;
    const auto x = random_numbers(size, 1), dy = random_numbers(size, 2);
    std::vector<float> y(x.size()), dx = dy, y_expected(x.size()), dx_expected(x.size());
    std::vector<float> sum(static_cast<std::size_t>(columns), 0.5F), sum_expected = sum;
    Gelu<float>::forward(x.data(), y_expected.data(), size, GetParam());
    Gelu<float>::backward(x.data(), dy.data(), {dx_expected.data(), false}, size, GetParam());
    Gelu<float>::backward_again(x.data(), dx.data(), dx.data(), y.data(), rows, columns, {sum.data(), true},
                                GetParam());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(y[i], y_expected[i], 1e-6);
      ASSERT_NEAR(dx[i], dx_expected[i], 1e-5);
    }
    Reduce<float>::sum_rows(dx.data(), rows, columns, 1.0F, {sum_expected.data(), true});
    EXPECT_EQ(sum, sum_expected);
  });
}

TEST_P(GeluBackwardAgain, RoundsInBf16ButSumsUpBefore) {
  for_each_shape([](Index rows, Index columns) {
    const Index size = rows * columns;
    const auto x = random_numbers(size, 3), dy = random_numbers(size, 4);
    std::vector<Bfloat16> rounded_x(x.size()), y(x.size()), dx(x.size());
    std::ranges::transform(x, rounded_x.begin(), Bfloat16::from);
    std::ranges::transform(dy, dx.begin(), Bfloat16::from);
    const std::vector<double> same_x = numbers_of(rounded_x), same_dy = numbers_of(dx);
    std::vector<double> y_exact(x.size()), dx_exact(x.size());
    std::vector<double> sum_exact(static_cast<std::size_t>(columns));
    std::vector<float> sum(sum_exact.size());
    Gelu<double>::backward_again(same_x.data(), same_dy.data(), dx_exact.data(), y_exact.data(), rows,
                                 columns, {sum_exact.data(), false}, GetParam());
    Gelu<float>::backward_again(rounded_x.data(), dx.data(), dx.data(), y.data(), rows, columns,
                                {sum.data(), false}, GetParam());
    for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_NEAR(sum[i], sum_exact[i], 1e-4);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(y[i], Bfloat16::from(static_cast<float>(y_exact[i])));
      ASSERT_NEAR(static_cast<float>(dx[i]), dx_exact[i], std::abs(dx_exact[i]) / 255);
    }
  });
}

TEST_P(GeluBackwardAgain, NeedsNoPlaceForTheSum) {
  const auto x = random_numbers(35, 5);
  std::vector<float> y(35), dx(35), again(35), sum(7);
  Gelu<float>::backward_again(x.data(), x.data(), dx.data(), y.data(), 5, 7, {sum.data(), false}, GetParam());
  Gelu<float>::backward_again(x.data(), x.data(), again.data(), y.data(), 5, 7, {}, GetParam());
  EXPECT_EQ(dx, again);
}

class GeluInBf16 : public ::testing::TestWithParam<GeluForm> {};
INSTANTIATE_TEST_SUITE_P(Forms, GeluInBf16, ::testing::Values(GeluForm::tanh, GeluForm::erf));

TEST_P(GeluInBf16, IsTheNearestNumberForAllNumbers) {
  const std::vector<Bfloat16> all = all_numbers();
  const std::vector<double> x = numbers_of(all);
  std::vector<double> exact(x.size());
  std::vector<Bfloat16> y(x.size());
  Gelu<double>::forward(x.data(), exact.data(), std::ssize(x), GetParam());
  Gelu<float>::forward(all.data(), y.data(), std::ssize(x), GetParam());
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(static_cast<float>(y[i])));
      continue;
    }
    ASSERT_EQ(y[i], Bfloat16::from(static_cast<float>(exact[i]))) << x[i];
  }
}

TEST_P(GeluInBf16, AddsItsSlopeTimesTheGradientForAllNumbers) {
  const std::vector<Bfloat16> all = all_numbers();
  const std::vector<double> x = numbers_of(all), ones(x.size(), 1.0);
  std::vector<double> slope(x.size());
  Gelu<double>::backward(x.data(), ones.data(), {slope.data(), false}, std::ssize(x), GetParam());
  const std::vector<float> dy(x.size(), 2.0F);
  std::vector<float> dx(x.size(), 0.5F);
  Gelu<float>::backward(all.data(), dy.data(), {dx.data(), true}, std::ssize(x), GetParam());
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      ASSERT_TRUE(std::isnan(dx[i]));
    } else {
      ASSERT_NEAR(dx[i], 0.5 + 2 * slope[i], 1e-6) << x[i];
    }
  }
}

}  // namespace
}  // namespace exfusion::kernels
