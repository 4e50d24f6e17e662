#include <gtest/gtest.h>

#include <exfusion/models/flops.hpp>

namespace exfusion {
namespace {

// D = 4, F = 16, V = 7, 3 layers.
constexpr GptConfig gpt{.vocab_size = 7, .context = 8, .layers = 3, .heads = 2, .d_model = 4};
// Images 3 x 6 x 6 in 9 patches of 12 numbers, D = 4, F = 5, 2 layers.
constexpr VitConfig vit{
    .image_size = 6, .patch_size = 2, .classes = 10, .layers = 2, .heads = 1, .d_model = 4, .d_ff = 5};

TEST(Flops, OfAGptAreThoseCountedByHand) {
  const FlopCount count = forward_flops(gpt, 2, 5);  // 10 tokens, 2 x 15 causal pairs
  EXPECT_EQ(count.input, 0);
  EXPECT_EQ(count.projections, 3 * (2 * 10 * 4 * 12 + 2 * 10 * 4 * 4));
  EXPECT_EQ(count.attention, 3 * 30 * (2 * 4 + 2 * 4));
  EXPECT_EQ(count.feed_forward, 3 * (2 * 10 * 4 * 16 + 2 * 10 * 16 * 4));
  EXPECT_EQ(count.output, 2 * 10 * 4 * 7);
  EXPECT_EQ(count.total(), 3840 + 1440 + 7680 + 560);
  EXPECT_EQ(count.blocks(), 3840 + 1440 + 7680);
}

TEST(Flops, OfAVitAreThoseCountedByHand) {
  const FlopCount count = forward_flops(vit, 3);  // 10 tokens with the class token
  EXPECT_EQ(count.input, 2 * 3 * 9 * 12 * 4);
  EXPECT_EQ(count.projections, 2 * (2 * 30 * 4 * 12 + 2 * 30 * 4 * 4));
  EXPECT_EQ(count.attention, 2 * (3 * 10 * 10) * (2 * 4 + 2 * 4));
  EXPECT_EQ(count.feed_forward, 2 * (2 * 30 * 4 * 5 + 2 * 30 * 5 * 4));
  EXPECT_EQ(count.output, 2 * 3 * 4 * 10);
  VitConfig pooled = vit;
  pooled.pooling = Pooling::mean;
  EXPECT_EQ(forward_flops(pooled, 3).attention, 2 * (3 * 9 * 9) * 16);
}

TEST(Flops, OfASparseMixtureGrowWithTheChosenExpertsAndTheRouter) {
  const FlopCount dense = forward_flops(gpt, 2, 5);
  const FlopCount sparse = forward_flops(gpt, 2, 5, {.networks = 2, .router_outputs = 8});
  EXPECT_EQ(sparse.feed_forward, 2 * dense.feed_forward + 3 * 2 * 10 * 4 * 8);
  EXPECT_EQ(sparse.total() - sparse.feed_forward, dense.total() - dense.feed_forward);
}

TEST(Flops, OfSwigluCountThreeMatrices) {
  GptConfig config = gpt;
  config.activation = Activation::swiglu;
  EXPECT_EQ(forward_flops(config, 2, 5).feed_forward, 3 * (3 * 2 * 10 * 4 * 16));
  EXPECT_EQ(fuse_flops(config, 4), 2 * 3 * 4 * (3 * 4 * 16));
}

TEST(Flops, OfTrainingAreThreeTimesTheForwardPassAndTheBlocksOnceMoreWithRecomputation) {
  const FlopCount count = forward_flops(gpt, 2, 5);
  EXPECT_EQ(training_flops(gpt, 2, 5), 3 * 13520);
  EXPECT_EQ(training_flops(count, true), 3 * 13520 + 12960);
  EXPECT_EQ(training_flops(vit, 3), 3 * forward_flops(vit, 3).total());
}

TEST(Flops, OfTheFusionAreTwoForEachNumberOfEachExpert) {
  EXPECT_EQ(fuse_flops(gpt, 4), 3 * 4 * 2 * (2 * 4 * 16));
  EXPECT_EQ(fuse_flops(vit, 1), 2 * 2 * (2 * 4 * 5));
}

TEST(Flops, RefuseSizesThatAreNotPositiveAndConfigurationsThatCannotWork) {
  EXPECT_THROW(forward_flops(gpt, 0, 5), ConfigError);
  EXPECT_THROW(forward_flops(gpt, 2, 0), ConfigError);
  EXPECT_THROW(forward_flops(gpt, 2, 5, {.networks = 0}), ConfigError);
  EXPECT_THROW(forward_flops(gpt, 2, 5, {.router_outputs = -1}), ConfigError);
  EXPECT_THROW(forward_flops(vit, 0), ConfigError);
  EXPECT_THROW(forward_flops(VitConfig{}, 1), ConfigError);
  EXPECT_THROW(forward_flops(GptConfig{}, 1, 1), ConfigError);
  EXPECT_THROW(fuse_flops(gpt, 0), ConfigError);
}

}  // namespace
}  // namespace exfusion
