#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/sample.hpp>

namespace exfusion::train {
namespace {

constexpr std::array<float, 4> logits{0.0F, 2.0F, 1.0F, -1.0F};

std::array<double, 4> frequencies(const SampleOptions& options) {
  constexpr int draws = 20'000;
  std::array<double, 4> counts{};
  Rng rng(1);
  for (int i = 0; i < draws; ++i) {
    counts[static_cast<std::size_t>(sample_token<float>(logits, options, rng))] += 1.0 / draws;
  }
  return counts;
}

TEST(Sample, FollowsTheSoftmaxAtItsTemperature) {
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const auto found = frequencies({.temperature = temperature});
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) / temperature);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(found[i], std::exp(static_cast<double>(logits[i]) / temperature) / sum, 0.015);
    }
  }
}

TEST(Sample, TopKLeavesTheKLikeliest) {
  const auto two = frequencies({.temperature = 1.0, .top_k = 2});
  EXPECT_EQ(two[0], 0);
  EXPECT_EQ(two[3], 0);
  EXPECT_NEAR(two[1], 1 / (1 + std::exp(-1.0)), 0.015);
  EXPECT_NEAR(frequencies({.temperature = 1.0, .top_k = 1})[1], 1.0, 1e-9);
  EXPECT_EQ(frequencies({.temperature = 1.0, .top_k = 9}), frequencies({.temperature = 1.0}));
}

TEST(Sample, TopPLeavesTheFewestThatHaveItsProbability) {
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  const double first = std::exp(2.0) / total, second = std::exp(1.0) / total;
  const auto one = frequencies({.temperature = 1.0, .top_p = first - 0.01});
  EXPECT_NEAR(one[1], 1.0, 1e-9);
  const auto two = frequencies({.temperature = 1.0, .top_p = first + 0.01});
  EXPECT_EQ(two[0], 0);
  EXPECT_EQ(two[3], 0);
  EXPECT_NEAR(two[1], first / (first + second), 0.015);
  const auto three = frequencies({.temperature = 1.0, .top_p = first + second + 0.01});
  EXPECT_GT(three[0], 0);
  EXPECT_EQ(three[3], 0);
  // Of the two likeliest the first has more than 0.7: the nucleus is one of the rest.
  EXPECT_NEAR(frequencies({.temperature = 1.0, .top_k = 2, .top_p = 0.7})[1], 1.0, 1e-9);
}

TEST(Sample, TokensBeyondTheVocabularyAreNeverDrawn) {
  Rng rng(1);
  const std::array<float, 4> padded{0.0F, 1.0F, 9.0F, 9.0F};
  EXPECT_EQ(sample_token<float>(padded, {.temperature = 0, .vocab_size = 2}, rng), 1);
  for (int i = 0; i < 100; ++i) EXPECT_LT(sample_token<float>(padded, {.vocab_size = 2}, rng), 2);
}

TEST(Sample, TemperatureZeroTakesTheLikeliest) {
  Rng rng(1);
  EXPECT_EQ(sample_token<float>(logits, {.temperature = 0}, rng), 1);
  EXPECT_EQ(rng.state().counter, 0U) << "nothing is random";
}

TEST(Sample, ExtremeLogitsDoNotOverflow) {
  Rng rng(1);
  const std::array<float, 2> far{-3e38F, 3e38F};
  EXPECT_EQ(sample_token<float>(far, {.temperature = 1e-3}, rng), 1);
}

TEST(Sample, RefusesOptionsAndLogitsThatMakeNoSense) {
  Rng rng(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(sample_token<float>(logits, {.temperature = -1}, rng), ConfigError);
  EXPECT_THROW(sample_token<float>(logits, {.temperature = nan}, rng), ConfigError);
  EXPECT_THROW(sample_token<float>(logits, {.top_k = -1}, rng), ConfigError);
  for (const double top_p : {0.0, -1.0, 1.1, nan})
    EXPECT_THROW(sample_token<float>(logits, {.top_p = top_p}, rng), ConfigError);
  EXPECT_THROW(sample_token<float>(logits, {.vocab_size = -1}, rng), ConfigError);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float damage : {std::numeric_limits<float>::quiet_NaN(), infinity}) {
    const std::array<float, 2> damaged{0.0F, damage};
    EXPECT_THROW(sample_token<float>(damaged, {}, rng), Error);
  }
  const std::array<float, 2> none{-infinity, -infinity};
  EXPECT_THROW(sample_token<float>(none, {}, rng), Error);
  EXPECT_THROW(sample_token<float>({}, {}, rng), ShapeError);
}

TEST(Sample, TokensThatAreMaskedOutAreNeverDrawn) {
  Rng rng(1);
  const std::array<float, 3> masked{-std::numeric_limits<float>::infinity(), 0.0F,
                                    -std::numeric_limits<float>::infinity()};
  for (const double top_p : {1.0, 0.9}) EXPECT_EQ(sample_token<float>(masked, {.top_p = top_p}, rng), 1);
}

/// Predicts the token after the last one it sees, modulo 5; notes how many it is given.
struct CountingDecoder {
  std::vector<std::size_t>& given;
  std::array<float, 5> result{};

  std::span<const float> operator()(std::span<const std::int32_t> tokens) {
    given.push_back(tokens.size());
    result.fill(0);
    result[static_cast<std::size_t>(tokens.back() + 1) % 5] = 100;
    return result;
  }
};

TEST(Generate, GivesTheDecoderThePromptAndThenEachTokenItDrew) {
  std::vector<std::size_t> given;
  Rng rng(1);
  std::vector<std::int32_t> drawn;
  const std::vector<std::int32_t> prompt{0, 1};
  generate(CountingDecoder{given}, prompt, 6, {}, rng, [&](std::int32_t token) {
    drawn.push_back(token);
    return true;
  });
  EXPECT_EQ(drawn, (std::vector<std::int32_t>{2, 3, 4, 0, 1, 2}));
  EXPECT_EQ(given, (std::vector<std::size_t>{2, 1, 1, 1, 1, 1}));
}

TEST(Generate, StopsWhenToldAndRefusesAnEmptyPrompt) {
  std::vector<std::size_t> given;
  Rng rng(1);
  int calls = 0;
  const std::vector<std::int32_t> prompt{0};
  generate(CountingDecoder{given}, prompt, 6, {}, rng, [&](std::int32_t) { return ++calls < 2; });
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(given.size(), 2U);
  EXPECT_THROW(generate(CountingDecoder{given}, {}, 6, {}, rng, [](std::int32_t) { return true; }),
               ConfigError);
}

}  // namespace
}  // namespace exfusion::train
