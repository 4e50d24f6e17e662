#include <gtest/gtest.h>

#include <exfusion/ops/mean_rows.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(MeanRows, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  for (Index rows : {1, 3, 7, 17}) {
    for (Index width : {1, 3, 7, 17}) {
      const auto x = Parameter<double>::normal({rows, 2, width}, 1.0, rng);
      const auto result = testing::grad_check([&](const auto& ctx) { return mean_rows(ctx, x); }, {x});
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(MeanRows, IsTheSameForAllThreadCountsAndMatchesANaiveMean) {
  Rng rng(2);
  const Index rows = 4096, width = 200;
  const auto x = testing::random_float({64, 64, width}, rng);
  testing::expect_same_bits_for_all_thread_counts(
      [&] { return testing::copy_of(mean_rows(Context<float>{}, x).values()); });
  std::vector<double> mean(static_cast<std::size_t>(width));
  for (Index i = 0; i < rows * width; ++i) {
    mean[static_cast<std::size_t>(i % width)] += static_cast<double>(x.data()[i]) / static_cast<double>(rows);
  }
  testing::expect_close(mean_rows(Context<float>{}, x).values(), mean, 1e-6);
}

TEST(MeanRows, RejectsATensorWithoutRows) {
  const Context<float> ctx;
  EXPECT_THROW(mean_rows(ctx, Tensor<float>::zeros({0, 4})), ShapeError);
  EXPECT_THROW(mean_rows(ctx, Tensor<float>::zeros({})), ShapeError);
}

}  // namespace
}  // namespace exfusion
