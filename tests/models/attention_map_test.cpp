#include <cmath>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/attention_map.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/ops/attention.hpp>

namespace exfusion {
namespace {

TEST(MeanAttention, IsWhatAttentionMultipliesTheValuesBy) {
  constexpr Index batch = 2, heads = 3;
  Rng rng(1);
  for (Index tokens : {1, 3, 7, 17}) {  // d_head = tokens, so that the values can be the unit matrix
    const Index d_model = heads * tokens;
    const auto qkv = Parameter<double>::normal({batch, tokens, 3 * d_model}, 1.5, rng);
    for (Index row = 0; row < batch * tokens; ++row) {
      for (Index i = 0; i < d_model; ++i) {
        qkv.data()[(row * 3 + 2) * d_model + i] = i % tokens == row % tokens ? 1 : 0;
      }
    }
    const auto mean = detail::mean_attention<double>(qkv, heads);
    const auto y = ops::attention<double>(Context<double>{}, qkv, heads, false);
    for (Index row = 0; row < batch * tokens; ++row) {
      for (Index t = 0; t < tokens; ++t) {
        double expected = 0;
        for (Index head = 0; head < heads; ++head)
          expected += y.data()[row * d_model + head * tokens + t] / heads;
        EXPECT_NEAR(mean.data()[row * tokens + t], expected, 1e-12);
      }
    }
  }
}

using Matrix = std::vector<std::vector<double>>;

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < a.size(); ++j) {
      for (std::size_t k = 0; k < a.size(); ++k) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

/// The rollout as its paper writes it, whole matrices, for one image [1, C, H, W].
Matrix naive_rollout(const Vit<double>& model, const Tensor<double>& image) {
  const auto tokens = static_cast<std::size_t>(model.config.tokens());
  Matrix rollout(tokens, std::vector<double>(tokens));
  for (std::size_t i = 0; i < tokens; ++i) rollout[i][i] = 1;
  Tensor<double> x = model.embed({}, image);
  for (const auto& block : model.blocks) {
    const auto attention =
        detail::mean_attention(block.attention.qkv({}, block.norm1({}, x)), model.config.heads);
    Matrix mixed(tokens, std::vector<double>(tokens));
    for (std::size_t i = 0; i < tokens; ++i) {
      for (std::size_t j = 0; j < tokens; ++j) {
        mixed[i][j] = 0.5 * attention.values()[i * tokens + j] + (i == j ? 0.5 : 0);
      }
    }
    rollout = product(mixed, rollout);
    x = block({}, x);
  }
  return rollout;
}

constexpr VitConfig small{.image_size = 9,
                          .channels = 2,
                          .patch_size = 3,
                          .classes = 4,
                          .layers = 3,
                          .heads = 2,
                          .d_model = 8,
                          .d_ff = 12};

/// A model whose attention is far from uniform.
Vit<double> sharp_model(Pooling pooling, Rng& rng) {
  VitConfig config = small;
  config.pooling = pooling;
  Vit<double> model(config, rng);
  for (const auto& block : model.blocks) rng.fill_normal(block.attention.qkv.weight.values(), 0.0, 1.0);
  return model;
}

TEST(AttentionMap, IsTheRolloutsRowOfTheClassTokenOrTheMeanOfItsRows) {
  Rng rng(2);
  const auto images = Parameter<double>::normal({2, 2, 9, 9}, 1.0, rng);
  for (Pooling pooling : {Pooling::cls, Pooling::mean}) {
    const Vit<double> model = sharp_model(pooling, rng);
    const auto maps = attention_map(model, images);
    ASSERT_EQ(maps.shape(), (Shape{2, 3, 3}));
    for (Index image = 0; image < 2; ++image) {
      const Matrix rollout = naive_rollout(model, Tensor<double>(images.data() + image * 162, {1, 2, 9, 9}));
      std::vector<double> expected(9);
      for (std::size_t patch = 0; patch < 9; ++patch) {
        if (pooling == Pooling::cls) expected[patch] = rollout[0][patch + 1];
        for (std::size_t i = 0; i < 9 && pooling == Pooling::mean; ++i) expected[patch] += rollout[i][patch];
      }
      const double sum = std::reduce(expected.begin(), expected.end());
      for (std::size_t patch = 0; patch < 9; ++patch) {
        EXPECT_NEAR(maps.values()[static_cast<std::size_t>(image) * 9 + patch], expected[patch] / sum, 1e-12);
      }
    }
  }
}

TEST(AttentionMap, OfAModelThatLooksEverywhereAlikeIsUniform) {
  Rng rng(3);
  Vit<float> model(small, rng);
  for (const auto& block : model.blocks) std::ranges::fill(block.attention.qkv.weight.values(), 0.0F);
  const auto maps = attention_map(model, Parameter<float>::normal({3, 2, 9, 9}, 1.0, rng));
  for (float share : maps.values()) EXPECT_NEAR(share, 1.0 / 9, 1e-6);
}

TEST(AttentionMap, TakesAModelWithAnyFeedForwardNetwork) {
  Rng rng(4);
  const Vit<double> dense = sharp_model(Pooling::cls, rng);
  const auto images = Parameter<double>::normal({2, 2, 9, 9}, 1.0, rng);
  const auto expected = attention_map(dense, images);
  const auto fused = attention_map(upcycle(dense, StaticFusion<double>{}, {.experts = 3}, rng), images);
  for (std::size_t i = 0; i < 18; ++i) EXPECT_NEAR(fused.values()[i], expected.values()[i], 1e-9);
}

TEST(AttentionMap, RefusesImagesThatAreNotTheModels) {
  Rng rng(5);
  const Vit<float> model(small, rng);
  EXPECT_THROW(attention_map(model, Tensor<float>::zeros({1, 2, 9, 6})), ShapeError);
  EXPECT_THROW(attention_map(model, Tensor<float>::zeros({1, 3, 9, 9})), ShapeError);
}

}  // namespace
}  // namespace exfusion
