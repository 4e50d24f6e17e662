#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/confusion.hpp>

namespace exfusion::train {
namespace {

/// Sees the class in the first pixel, except that it takes class 2 for class 0.
struct PixelModel {
  Tensor<double> operator()(const Context<double>& ctx, const Tensor<double>& images) const {
    EXPECT_FALSE(ctx.training);
    const Index count = images.shape()[0];
    auto logits = Tensor<double>::zeros({count, 3});
    for (Index i = 0; i < count; ++i) {
      logits.data()[i * 3 + std::lround(images.data()[i] * 255) % 2] = 3;
    }
    return logits;
  }
};

TEST(CountConfusions, CountsEveryImageOnceWithARowForEachTrueClass) {
  data::ImageDataset images{1, 1, 1, {}, {}, {"zero", "one", "two"}};
  for (const int label : {0, 1, 2, 1, 0, 2, 2}) {
    images.pixels.push_back(static_cast<std::uint8_t>(label));
    images.labels.push_back(label);
  }
  const data::ImageBatches<double> batches(images, {.mean = {0.0}, .std = {1.0}}, 3);
  EXPECT_EQ(count_confusions(PixelModel{}, batches),
            (std::vector<std::vector<Index>>{{2, 0, 0}, {0, 2, 0}, {3, 0, 0}}));
}

}  // namespace
}  // namespace exfusion::train
