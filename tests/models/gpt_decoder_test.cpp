#include <algorithm>
#include <cmath>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/ffn_config.hpp>
#include <exfusion/models/gpt_decoder.hpp>

namespace exfusion {
namespace {

GptConfig config_of(Index heads, Index d_head, Index context) {
  return {.vocab_size = 17, .context = context, .layers = 2, .heads = heads, .d_model = heads * d_head};
}

/// A model whose weights, biases and normalisations are all random, and not small.
template <Scalar T, class F>
void randomise(const Gpt<T, F>& model) {
  Rng rng(9);
  for (const auto& parameter : collect_parameters<T>(model).parameters)
    rng.fill_normal(parameter.tensor.values(), 0.1, 0.3);
}

std::vector<std::int32_t> some_tokens(Index count) {
  std::vector<std::int32_t> tokens;
  for (Index i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>((5 * i * i + 3) % 17));
  return tokens;
}

template <Scalar T, class F>
void expect_logits(const Gpt<T, F>& model, std::span<const std::int32_t> seen, std::span<const T> logits,
                   double tolerance) {
  const Tensor<T> expected = model.last_logits({}, IntTensor({1, std::ssize(seen)}, seen));
  ASSERT_EQ(std::ssize(logits), expected.size());
  double scale = 1;
  for (const T value : expected.values()) scale = std::max(scale, std::abs(static_cast<double>(value)));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(logits[i]), static_cast<double>(expected.values()[i]), tolerance * scale)
        << seen.size() << " tokens";
  }
}

/// Every prefix of a sequence, in pieces of `step` tokens, against the whole model.
template <Scalar T, class F>
void expect_as_the_model(const Gpt<T, F>& model, Index step, double tolerance) {
  const auto tokens = some_tokens(model.config.context);
  GptDecoder decoder(model);
  for (std::size_t begin = 0; begin < tokens.size(); begin += static_cast<std::size_t>(step)) {
    const std::size_t end = std::min(tokens.size(), begin + static_cast<std::size_t>(step));
    const auto logits = decoder(std::span(tokens).subspan(begin, end - begin));
    EXPECT_EQ(decoder.length(), static_cast<Index>(end));
    expect_logits(model, std::span(tokens).first(end), logits, tolerance);
  }
}

TEST(GptDecoder, GivesTheModelsLogitsAtEveryPosition) {
  for (const Index d_head : {1, 3, 7, 17}) {
    for (const Index context : {1, 3, 7, 17}) {
      Rng rng(1);
      const Gpt<double> exact(config_of(3, d_head, context), rng);
      randomise(exact);
      const Gpt<float> model(config_of(3, d_head, context), rng);
      randomise(model);
      for (const Index step : {1, 3, 17}) {
        expect_as_the_model(exact, step, 1e-12);
        expect_as_the_model(model, step, 1e-5);
      }
    }
  }
}

TEST(GptDecoder, TakesEveryKindOfFeedForwardNetwork) {
  for (const FfnConfig& kind :
       {FfnConfig(FusedFfnConfig{.experts = 3, .init = ZeroSum{0.5}, .rule = LearnedFusionOptions{}}),
        FfnConfig(FusedFfnConfig{.experts = 2, .init = ZeroSum{0.5}}),
        FfnConfig(SparseMoEOptions{.experts = 3, .k = 2})}) {
    Rng rng(1);
    Gpt<double> dense(config_of(2, 5, 9), rng);
    randomise(dense);
    with_ffn<double>(std::move(dense), kind, rng,
                     [](const auto& model) { expect_as_the_model(model, 2, 1e-12); });
  }
  Rng rng(1);
  GptConfig gated = config_of(2, 5, 9);
  gated.activation = Activation::swiglu;
  const Gpt<double> model(gated, rng);
  randomise(model);
  expect_as_the_model(model, 1, 1e-12);
}

TEST(GptDecoder, MovesItsWindowToTheNewerHalfWhenTheContextIsFull) {
  Rng rng(1);
  for (const Index context : {1, 2, 7, 8}) {
    const Gpt<double> model(config_of(2, 3, context), rng);
    randomise(model);
    GptDecoder decoder(model);
    const auto tokens = some_tokens(4 * context + 3);
    Index length = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto logits = decoder(std::span(tokens).subspan(i, 1));
      length = length == context ? std::max<Index>(1, context / 2) : length + 1;
      ASSERT_EQ(decoder.length(), length);
      expect_logits(model, std::span(tokens).first(i + 1).last(static_cast<std::size_t>(length)), logits,
                    1e-12);
    }
  }
}

TEST(GptDecoder, SeesTheEndOfAPromptThatIsLongerThanTheContext) {
  Rng rng(1);
  const Gpt<double> model(config_of(2, 3, 8), rng);
  randomise(model);
  const auto tokens = some_tokens(21);
  GptDecoder decoder(model);
  expect_logits(model, std::span(tokens).last(8), decoder(tokens), 1e-12);
  EXPECT_EQ(decoder.length(), 8);
}

TEST(GptDecoder, BeginsAnewAfterReset) {
  Rng rng(1);
  const Gpt<double> model(config_of(2, 3, 8), rng);
  GptDecoder decoder(model);
  decoder(some_tokens(5));
  decoder.reset();
  EXPECT_EQ(decoder.length(), 0);
  const std::vector<std::int32_t> other{4, 2};
  expect_logits(model, other, decoder(other), 1e-12);
}

/// A feed-forward network that fails when it is told to.
struct FailingFfn {
  FeedForward<double> inner;
  bool* fails;

  static void fields(auto& self, auto&& visit) { visit("inner", self.inner); }
  Tensor<double> operator()(const Context<double>& ctx, const Tensor<double>& x) const {
    if (*fails) throw std::bad_alloc();
    return inner(ctx, x);
  }
};

TEST(GptDecoder, AFailedPassLeavesItAsItWasOrEmpty) {
  Rng rng(1);
  const Gpt<double> dense(config_of(2, 3, 4), rng);
  bool fails = false;
  const auto model = dense.transform_ffn([&](const FeedForward<double>& ffn, Index) {
    return FailingFfn{ffn, &fails};
  });
  GptDecoder decoder(model);
  const std::vector<std::int32_t> two{1, 2}, next{5}, all{1, 2, 5}, more{6, 7};
  decoder(two);
  fails = true;
  EXPECT_THROW(decoder(next), std::bad_alloc);
  EXPECT_EQ(decoder.length(), 2);
  fails = false;
  expect_logits(model, std::span<const std::int32_t>(all), decoder(next), 1e-12);
  fails = true;
  EXPECT_THROW(decoder(more), std::bad_alloc);  // the window would have moved
  EXPECT_EQ(decoder.length(), 0);
  fails = false;
  expect_logits(model, std::span<const std::int32_t>(two), decoder(two), 1e-12);
}

TEST(GptDecoder, RefusesAModelWithoutASize) {
  const Gpt<double> empty;
  EXPECT_THROW((GptDecoder<double, FeedForward<double>>(empty)), ConfigError);
}

TEST(GptDecoder, RefusesWhatIsNoTokenAndStaysAsItWas) {
  Rng rng(1);
  const Gpt<double> model(config_of(2, 3, 8), rng);
  GptDecoder decoder(model);
  const std::vector<std::int32_t> good{1, 2}, bad{3, 17}, next{5}, all{1, 2, 5};
  decoder(good);
  EXPECT_THROW(decoder({}), ShapeError);
  EXPECT_THROW(decoder(bad), Error);
  EXPECT_EQ(decoder.length(), 2);
  expect_logits(model, all, decoder(next), 1e-12);
}

}  // namespace
}  // namespace exfusion
