#include <gtest/gtest.h>

#include <exfusion/ops/patches.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(Patches, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  struct Case {
    Index batch, channels, height, width, patch;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1}, Case{3, 1, 3, 3, 3}, Case{2, 3, 6, 9, 3}, Case{1, 2, 7, 14, 7},
                        Case{17, 1, 2, 3, 1}}) {
    const auto images = Parameter<double>::normal({c.batch, c.channels, c.height, c.width}, 1.0, rng);
    const auto result =
        testing::grad_check([&](const auto& ctx) { return patches(ctx, images, c.patch); }, {images});
    EXPECT_TRUE(result) << result;
  }
}

TEST(Patches, StandInRowsFromTheTopLeftWithTheirChannelsOneAfterTheOther) {
  const Index batch = 3, channels = 2, height = 6, width = 10, p = 2, across = width / p;
  auto images = Tensor<float>::empty({batch, channels, height, width});
  for (Index i = 0; i < images.size(); ++i) images.data()[i] = static_cast<float>(i);
  const auto y = patches(Context<float>{}, images, p);
  ASSERT_EQ(y.shape(), (Shape{batch, height / p * across, channels * p * p}));
  Index i = 0;
  for (Index b = 0; b < batch; ++b) {
    for (Index n = 0; n < height / p * across; ++n) {
      for (Index c = 0; c < channels; ++c) {
        for (Index pixel = 0; pixel < p * p; ++pixel, ++i) {
          const Index row = n / across * p + pixel / p, column = n % across * p + pixel % p;
          ASSERT_EQ(y.data()[i], images.data()[((b * channels + c) * height + row) * width + column]);
        }
      }
    }
  }
}

TEST(Patches, GradientIsTheSameForAllThreadCounts) {
  Rng rng(3);
  const auto images = testing::random_float({40, 3, 32, 32}, rng);
  const auto dy = testing::random_values<float>(images.size(), rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    images.gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return patches(ctx, images, 4); }, dy);
    return testing::copy_of(images.grad());
  });
}

TEST(Patches, NamesImagesThatTheyDoNotTile) {
  const Context<float> ctx;
  const auto images = Tensor<float>::zeros({2, 3, 10, 8});
  try {
    patches(ctx, images, 4);
    FAIL() << "patches that do not tile the image were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(),
                 "[patches] images are [2, 3, 10, 8]: patches of 4 x 4 pixels do not tile them");
  }
  EXPECT_THROW(patches(ctx, images, 0), ShapeError);
  EXPECT_THROW(patches(ctx, Tensor<float>::zeros({3, 10, 8}), 2), ShapeError);
}

}  // namespace
}  // namespace exfusion
