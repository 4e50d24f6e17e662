#include <algorithm>
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

TEST_P(GeluBackwardAgain, SumsUpBeforeItRounds) {
  for_each_shape([](Index rows, Index columns) {
    const Index size = rows * columns;
    auto x = random_numbers(size, 3);
    const auto dy = random_numbers(size, 4);
    std::vector<Bfloat16> rounded_x(x.size()), y(x.size()), dx(x.size());
    std::ranges::transform(x, rounded_x.begin(), Bfloat16::from);
    std::ranges::transform(rounded_x, x.begin(), [](Bfloat16 value) { return static_cast<float>(value); });
    std::vector<float> y_exact(x.size()), dx_exact(x.size());
    std::vector<float> sum(static_cast<std::size_t>(columns)), sum_exact = sum;
    Gelu<float>::backward_again(x.data(), dy.data(), dx_exact.data(), y_exact.data(), rows, columns,
                                {sum_exact.data(), false}, GetParam());
    Gelu<float>::backward_again(rounded_x.data(), dy.data(), dx.data(), y.data(), rows, columns,
                                {sum.data(), false}, GetParam());
    EXPECT_EQ(sum, sum_exact);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(y[i], Bfloat16::from(y_exact[i]));
      ASSERT_EQ(dx[i], Bfloat16::from(dx_exact[i]));
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

}  // namespace
}  // namespace exfusion::kernels
