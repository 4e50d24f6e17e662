#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/upcycle.hpp>
#include <exfusion/models/vit.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

constexpr VitConfig small{.image_size = 6,
                          .channels = 2,
                          .patch_size = 3,
                          .classes = 5,
                          .layers = 3,
                          .heads = 2,
                          .d_model = 8,
                          .d_ff = 12};

void scramble(const auto& model, Rng& rng) {
  for (const auto& [name, tensor, options] : collect_parameters<double>(model).parameters) {
    rng.fill_normal(tensor.values(), name.find("norm") == std::string::npos ? 0.0 : 1.0, 0.4);
  }
}

TEST(Vit, ClassifiesImagesWithEitherPooling) {
  Rng rng(1);
  const auto images = Tensor<float>::empty({3, 2, 6, 6});
  rng.fill_normal(images.values(), 0.0, 1.0);
  VitConfig config = small;
  for (Pooling pooling : {Pooling::cls, Pooling::mean}) {
    config.pooling = pooling;
    const Vit<float> model(config, rng);
    const auto logits = model(Context<float>{}, images);
    EXPECT_EQ(logits.shape(), (Shape{3, 5}));
    EXPECT_NEAR(cross_entropy(Context<float>{}, logits, IntTensor({3}, {0, 1, 2})).item(), std::log(5.0),
                0.1);
    EXPECT_EQ(model.position.shape(), (Shape{pooling == Pooling::cls ? 5 : 4, 8}));
    EXPECT_EQ(static_cast<bool>(model.class_token), pooling == Pooling::cls);
  }
}

TEST(Vit, EachImageIsClassifiedOnItsOwn) {
  Rng rng(2);
  const Vit<double> model(small, rng);
  scramble(model, rng);
  const auto images = Parameter<double>::normal({2, 2, 6, 6}, 1.0, rng);
  const auto both = model(Context<double>{}, images);
  const auto second = model(Context<double>{}, Tensor<double>(images.data() + 72, {1, 2, 6, 6}));
  for (Index i = 0; i < 5; ++i) EXPECT_NEAR(both.data()[5 + i], second.data()[i], 1e-13);
}

/// Dense, with a mixture, and with experts fused by weights from a router, for one way of pooling.
void expect_gradients(Pooling pooling, Rng& rng) {
  const Vit<double> dense({.image_size = 4,
                           .channels = 1,
                           .patch_size = 2,
                           .classes = 3,
                           .layers = 2,
                           .heads = 1,
                           .d_model = 3,
                           .d_ff = 3,
                           .dropout = 0.2,
                           .drop_path = 0.5,
                           .pooling = pooling,
                           .layer_norm_eps = 1e-3},
                          rng);
  scramble(dense, rng);
  const auto images = Parameter<double>::normal({3, 1, 4, 4}, 1.0, rng);
  const IntTensor labels({3}, {0, 2, 1});
  const auto check = [&](const auto& model) {
    const auto forward = [&](const Context<double>& ctx) {
      return cross_entropy(ctx, model(ctx, images), labels);
    };
    const auto result = testing::grad_check(forward, model, {images});
    EXPECT_TRUE(result) << result;
  };
  check(dense);
  check(upcycle(dense, {.experts = 3, .init = ZeroSum{1.0}}, rng));
  const auto mixture = dense.transform_ffn([&](const FeedForward<double>& ffn, Index) {
    return SparseMoE<double>(ffn, {.experts = 3, .k = 1, .balance = 0.1, .router_std = 1.0}, rng);
  });
  scramble(mixture, rng);
  check(mixture);
}

TEST(Vit, GradientsOfAWholeModelMatchDifferences) {
  Rng rng(3);
  expect_gradients(Pooling::cls, rng);
  expect_gradients(Pooling::mean, rng);
}

TEST(Vit, DropPathGrowsLinearlyWithDepth) {
  Rng rng(4);
  VitConfig config = small;
  config.drop_path = 0.4;
  const Vit<float> model(config, rng);
  EXPECT_DOUBLE_EQ(model.blocks[0].drop_path, 0.0);
  EXPECT_DOUBLE_EQ(model.blocks[1].drop_path, 0.2);
  EXPECT_DOUBLE_EQ(model.blocks[2].drop_path, 0.4);
  config.layers = 1;
  EXPECT_EQ(Vit<float>(config, rng).blocks[0].drop_path, 0.0);
}

TEST(Vit, CopiesAndTransformedModelsShareNothing) {
  Rng rng(5);
  const Vit<double> model(small, rng);
  const auto images = Parameter<double>::normal({2, 2, 6, 6}, 1.0, rng);
  const auto before = model(Context<double>{}, images);
  const Vit<double> copy = model;
  const auto same = model.transform_ffn([](const FeedForward<double>& ffn, Index) { return ffn; });
  EXPECT_TRUE(std::ranges::equal(before.values(), copy(Context<double>{}, images).values()));
  EXPECT_TRUE(std::ranges::equal(before.values(), same(Context<double>{}, images).values()));
  scramble(copy, rng);
  scramble(same, rng);
  EXPECT_TRUE(std::ranges::equal(before.values(), model(Context<double>{}, images).values()));
}

TEST(Vit, NamesTheConfigurationValueAndItsLimit) {
  Rng rng(6);
  const auto message = [&](const std::function<void(VitConfig&)>& change) -> std::string {
    VitConfig config = small;
    change(config);
    try {
      Vit<float>(config, rng);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](auto&) {}), "accepted");
  EXPECT_EQ(message([](auto& c) { c.image_size = 0; }), "[vit] image_size = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.channels = 0; }), "[vit] channels = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.patch_size = 0; }), "[vit] patch_size = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.patch_size = 4; }),
            "[vit] image_size = 6 is not divisible by patch_size = 4");
  EXPECT_EQ(message([](auto& c) { c.patch_size = 7; }),
            "[vit] image_size = 6 is not divisible by patch_size = 7");
  EXPECT_EQ(message([](auto& c) { c.classes = 0; }), "[vit] classes = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.layers = 0; }), "[vit] layers = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.heads = 0; }), "[vit] heads = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.heads = 5; }), "[vit] d_model = 8 is not divisible by heads = 5");
  EXPECT_EQ(message([](auto& c) { c.d_model = -8; }), "[vit] d_model = -8: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.d_ff = -1; }), "[vit] d_ff = -1: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.dropout = -0.1; }), "[vit] dropout = -0.1: it must be in [0, 1)");
  EXPECT_EQ(message([](auto& c) { c.drop_path = 1; }), "[vit] drop_path = 1: it must be in [0, 1)");
  EXPECT_EQ(message([](auto& c) { c.layer_norm_eps = -1; }),
            "[vit] layer_norm_eps = -1: it must be positive");
  EXPECT_EQ(message([](auto& c) { c.image_size = c.patch_size = Index{1} << 50; }),
            "[vit] an image would hold 2.5353e+30 numbers: more than 2^44");
}

TEST(Vit, NamesImagesThatDoNotFit) {
  Rng rng(7);
  const Vit<float> model(small, rng);
  const Context<float> ctx;
  try {
    model(ctx, Tensor<float>::zeros({4, 3, 6, 6}));
    FAIL() << "a wrong number of channels was accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[vit] images are [4, 3, 6, 6]: they must be [batch, 2, 6, 6]");
  }
  EXPECT_THROW(model(ctx, Tensor<float>::zeros({4, 2, 6, 5})), ShapeError);
  EXPECT_THROW(model(ctx, Tensor<float>::zeros({4, 2, 9, 6})), ShapeError);
  EXPECT_THROW(model(ctx, Tensor<float>::zeros({2, 6, 6})), ShapeError);
  EXPECT_THROW(model(ctx, Tensor<float>::zeros({0, 2, 6, 6})), ShapeError);
}

}  // namespace
}  // namespace exfusion
