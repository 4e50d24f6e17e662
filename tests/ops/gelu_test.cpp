#include <cmath>

#include <gtest/gtest.h>

#include <exfusion/ops/gelu.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

TEST(Gelu, GradientMatchesDifferencesForBothFormsAndOddSizes) {
  Rng rng(1);
  for (GeluForm form : {GeluForm::tanh, GeluForm::erf}) {
    for (Index size : {1, 3, 7, 17}) {
      const auto x = Parameter<double>::normal({2, size}, 1.5, rng);
      const auto result =
          testing::grad_check([&](const Context<double>& ctx) { return gelu(ctx, x, form); }, {x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(Gelu, TanhFormStaysCloseToTheExactForm) {
  const auto x = Tensor<double>::from({5}, {-3.0, -1.0, 0.0, 0.5, 4.0});
  const Context<double> ctx;
  const auto exact = gelu(ctx, x, GeluForm::erf);
  const auto approximate = gelu(ctx, x, GeluForm::tanh);
  for (Index i = 0; i < 5; ++i) {
    EXPECT_NEAR(exact.data()[i], 0.5 * x.data()[i] * std::erfc(-x.data()[i] / std::sqrt(2.0)), 1e-14);
    EXPECT_NEAR(approximate.data()[i], exact.data()[i], 1e-3);
  }
}

}  // namespace
}  // namespace exfusion
