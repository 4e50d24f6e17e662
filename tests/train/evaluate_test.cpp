#include <cmath>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/evaluate.hpp>

namespace exfusion::train {
namespace {

constexpr Index vocabulary = 5;

/// Believes with a certain weight that the next token is the present one plus one; notes the batches it sees.
struct SuccessorModel {
  mutable std::vector<std::int32_t> first_tokens;

  Tensor<double> loss(const Context<double>& ctx, const IntTensor& tokens, const IntTensor& targets) const {
    EXPECT_FALSE(ctx.training);
    EXPECT_EQ(ctx.tape, nullptr);
    first_tokens.push_back(tokens.values()[0]);
    auto logits = Tensor<double>::zeros({tokens.shape()[0], tokens.shape()[1], vocabulary});
    for (Index i = 0; i < tokens.size(); ++i) {
      logits.data()[i * vocabulary + (tokens.data()[i] + 1) % vocabulary] = 2;
    }
    return ops::cross_entropy(ctx, logits, targets);
  }
};

TEST(EvaluateText, IsTheMeanOverAllTokensWhereTheLastBatchIsSmaller) {
  std::vector<std::int32_t> tokens(7 * 3 + 1);  // 7 windows of 3 tokens: batches of 2, 2, 2 and 1
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<std::int32_t>(static_cast<Index>(i) % vocabulary);
  tokens.back() = 4;  // one target, in the smaller batch, that the model does not expect: 21 % 5 = 1
  const double expected_loss = std::log(std::exp(2.0) + 4) - 2, other_loss = std::log(std::exp(2.0) + 4);
  const SuccessorModel model;
  const data::TextBatches batches(tokens, 2, 3);
  EXPECT_NEAR(evaluate_text(model, batches), (20 * expected_loss + other_loss) / 21, 1e-12);
}

TEST(EvaluateText, SpreadsFewerBatchesOverTheText) {
  std::vector<std::int32_t> tokens(8 * 3 + 1);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i / 6);
  const data::TextBatches batches(tokens, 2, 3);  // 4 batches, beginning with the tokens 0, 1, 2 and 3
  const auto firsts = [&](Index most) {
    const SuccessorModel model;
    evaluate_text(model, batches, most);
    return model.first_tokens;
  };
  EXPECT_EQ(firsts(2), (std::vector<std::int32_t>{0, 2}));
  EXPECT_EQ(firsts(3), (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(firsts(0), (std::vector<std::int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(firsts(99), (std::vector<std::int32_t>{0, 1, 2, 3}));
}

/// Sees the class in the first pixel, except that it takes class 2 for class 0.
struct PixelModel {
  Tensor<double> operator()(const Context<double>&, const Tensor<double>& images) const {
    const Index count = images.shape()[0];
    auto logits = Tensor<double>::zeros({count, 3});
    for (Index i = 0; i < count; ++i) {
      const auto pixel = static_cast<Index>(std::lround(images.data()[i * 4] * 255));
      logits.data()[i * 3 + pixel % 2] = 3;
    }
    return logits;
  }
};

TEST(EvaluateImages, CountsLossAndAccuracyOverAllImages) {
  data::ImageDataset images{1, 2, 2, {}, {}, {"zero", "one", "two"}};
  for (const int label : {0, 1, 2, 1, 0}) {
    images.pixels.insert(images.pixels.end(), 4, static_cast<std::uint8_t>(label));
    images.labels.push_back(label);
  }
  const data::ImageBatches<double> batches(images, {.mean = {0.0}, .std = {1.0}}, 2);
  const ImageScore score = evaluate_images(PixelModel{}, batches);
  const double right = std::log(std::exp(3.0) + 2) - 3, wrong = std::log(std::exp(3.0) + 2);
  EXPECT_NEAR(score.accuracy, 0.8, 1e-12);
  EXPECT_NEAR(score.loss, (4 * right + wrong) / 5, 1e-12);
  EXPECT_NEAR(evaluate_images(PixelModel{}, batches, 1).accuracy, 1.0, 1e-12);
}

}  // namespace
}  // namespace exfusion::train
