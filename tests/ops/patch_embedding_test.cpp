#include <gtest/gtest.h>

#include <exfusion/ops/patch_embedding.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(PatchEmbedding, GradientMatchesDifferencesForOddSizes) {
  Rng rng(1);
  struct Case {
    Index batch, channels, height, width, patch, d_model;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1, 1}, Case{3, 1, 3, 3, 3, 7}, Case{2, 3, 6, 9, 3, 3},
                        Case{1, 2, 7, 14, 7, 3}, Case{3, 1, 2, 3, 1, 17}}) {
    const auto images = Parameter<double>::normal({c.batch, c.channels, c.height, c.width}, 1.0, rng);
    const auto weight = Parameter<double>::normal({c.d_model, c.channels, c.patch, c.patch}, 1.0, rng);
    const auto bias = Parameter<double>::normal({c.d_model}, 1.0, rng);
    const auto result = testing::grad_check(
        [&](const auto& ctx) { return patch_embedding(ctx, images, weight, bias); }, {images, weight, bias});
    EXPECT_TRUE(result) << result;
  }
}

TEST(PatchEmbedding, IsAConvolutionWhoseStrideIsThePatch) {
  Rng rng(2);
  const Index batch = 5, channels = 3, height = 12, width = 20, p = 4, d_model = 19, across = width / p;
  const auto images = testing::random_float({batch, channels, height, width}, rng);
  const auto weight = testing::random_float({d_model, channels, p, p}, rng);
  const auto bias = testing::random_float({d_model}, rng);
  const auto y = patch_embedding(Context<float>{}, images, weight, bias);
  ASSERT_EQ(y.shape(), (Shape{batch, height / p * across, d_model}));
  std::vector<double> expected;
  for (Index b = 0; b < batch; ++b) {
    for (Index n = 0; n < height / p * across; ++n) {
      for (Index d = 0; d < d_model; ++d) {
        double sum = bias.data()[d];
        for (Index c = 0; c < channels; ++c) {
          for (Index i = 0; i < p * p; ++i) {
            const Index row = n / across * p + i / p, column = n % across * p + i % p;
            sum += static_cast<double>(weight.data()[(d * channels + c) * p * p + i]) *
                   static_cast<double>(images.data()[((b * channels + c) * height + row) * width + column]);
          }
        }
        expected.push_back(sum);
      }
    }
  }
  testing::expect_close(y.values(), expected, 1e-5);
}

TEST(PatchEmbedding, GradientsAreTheSameForAllThreadCounts) {
  Rng rng(3);
  const auto images = testing::random_float({40, 3, 32, 32}, rng);
  const auto weight = testing::random_float({24, 3, 4, 4}, rng), bias = testing::random_float({24}, rng);
  const auto dy = testing::random_values<float>(40 * 64 * 24, rng);
  testing::expect_same_bits_for_all_thread_counts([&] {
    std::vector<float> all;
    for (const Parameter<float>* input : {&images, &weight, &bias}) input->gradient()->clear();
    testing::run_backward<float>([&](const auto& ctx) { return patch_embedding(ctx, images, weight, bias); },
                                 dy);
    for (const Parameter<float>* input : {&images, &weight, &bias}) {
      all.insert(all.end(), input->grad().begin(), input->grad().end());
    }
    return all;
  });
}

TEST(PatchEmbedding, NamesTheShapesThatDoNotFit) {
  const Context<float> ctx;
  const auto images = Tensor<float>::zeros({2, 3, 10, 8});
  try {
    patch_embedding(ctx, images, Tensor<float>::zeros({5, 3, 4, 4}));
    FAIL() << "patches that do not tile the image were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(),
                 "[patches] images are [2, 3, 10, 8]: patches of 4 x 4 pixels do not tile them");
  }
  EXPECT_THROW(patch_embedding(ctx, images, Tensor<float>::zeros({5, 1, 2, 2})), ShapeError);
  EXPECT_THROW(patch_embedding(ctx, images, Tensor<float>::zeros({5, 3, 2, 1})), ShapeError);
  EXPECT_THROW(patch_embedding(ctx, Tensor<float>::zeros({3, 10, 8}), Tensor<float>::zeros({5, 3, 2, 2})),
               ShapeError);
  EXPECT_THROW(patch_embedding(ctx, images, Tensor<float>::zeros({5, 3, 2, 2}), Tensor<float>::zeros({4})),
               ShapeError);
}

}  // namespace
}  // namespace exfusion
