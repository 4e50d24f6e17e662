#include <gtest/gtest.h>

#include <exfusion/models/gpt.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>

#include "fusion_support.hpp"

// Changing one token must change no logit of an earlier position, nor any of another sequence.

namespace exfusion {
namespace {

constexpr Index batch = 3, length = 9, vocabulary = 11;

Gpt<float> dense_gpt(Rng& rng) {
  return Gpt<float>({.vocab_size = vocabulary, .context = length, .layers = 2, .heads = 2, .d_model = 16},
                    rng);
}

IntTensor random_tokens(Rng& rng) {
  IntTensor tokens({batch, length});
  for (auto& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(vocabulary));
  return tokens;
}

/// A few steps, so that nothing is at its start.
template <class Model>
void train(const Model& model, Rng& rng) {
  AdamW<float> optimizer(model, {.lr = 0.01});
  Tape<float> tape;
  for (int step = 0; step < 5; ++step) {
    const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    tape.backward(cross_entropy(ctx, model(ctx, random_tokens(rng)), random_tokens(rng)));
    optimizer.step();
    tape.clear();
  }
}

/// Logits of a copy of the model, so that no pass leaves anything for the next.
template <class Model>
std::vector<float> logits_of(const Model& model, const IntTensor& tokens, bool training) {
  const Model copy = model;
  Tape<float> tape;
  Rng rng(9);
  const auto logits = copy({.tape = training ? &tape : nullptr, .rng = &rng, .training = training}, tokens);
  return {logits.values().begin(), logits.values().end()};
}

/// Number of logits that changed before, and from, the first changed token, or in another sequence.
struct Changes {
  Index forbidden = 0;
  Index allowed = 0;
};

template <class Model>
Changes changes(const Model& model, bool training) {
  Rng rng(5);
  Changes count;
  const IntTensor tokens = random_tokens(rng);
  const std::vector<float> before = logits_of(model, tokens, training);
  for (Index t = 0; t < length; ++t) {
    IntTensor changed(tokens.shape(), tokens.values());
    std::int32_t& token = changed.data()[length + t];  // of the second sequence
    token = (token + 1) % static_cast<std::int32_t>(vocabulary);
    const std::vector<float> after = logits_of(model, changed, training);
    for (Index i = 0; i < static_cast<Index>(before.size()); ++i) {
      if (before[static_cast<std::size_t>(i)] == after[static_cast<std::size_t>(i)]) continue;
      const Index position = i / vocabulary;
      const bool may_change = position / length == 1 && position % length >= t;
      ++(may_change ? count.allowed : count.forbidden);
    }
  }
  return count;
}

template <class Model>
void expect_causal(const Model& model) {
  Rng rng(6);
  train(model, rng);
  for (bool training : {false, true}) {
    const Changes count = changes(model, training);
    EXPECT_EQ(count.forbidden, 0) << (training ? "in training" : "in evaluation");
    EXPECT_GT(count.allowed, 0);
  }
}

TEST(Causality, HoldsForTheDenseModel) {
  Rng rng(1);
  expect_causal(dense_gpt(rng));
}

TEST(Causality, HoldsForEveryFusionRuleInTrainingAndEvaluation) {
  Rng rng(2);
  const auto check = [&](const auto& rule) {
    expect_causal(upcycle(dense_gpt(rng), rule, {.experts = 3, .init = ZeroSum{2.0}}, rng));
  };
  check(StaticFusion<float>{});
  check(StaticFusion<float>({.weights = {0.5, 0.2, 0.3}}));
  for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
    check(LearnedFusion<float>({.granularity = granularity}));
    check(LearnedFusion<float>({.form = LearnedForm::free, .granularity = granularity}));
  }
  check(MemoryBankFusion<float>{});
  check(MemoryBankFusion<float>({.bank = {.memory = BankMemory::window}}));
  check(testing::GatedRule<float>{});
}

TEST(Causality, HoldsForSparseMixturesOfExperts) {
  Rng rng(3);
  for (Index k : {1, 2}) {
    expect_causal(dense_gpt(rng).transform_ffn([&](const FeedForward<float>& dense, Index) {
      return SparseMoE<float>(dense, {.experts = 5, .k = k}, rng);
    }));
  }
}

TEST(Causality, IsBrokenByRoutedWeightsWhichIsWhyTheyAreRefused) {
  Rng rng(4);
  const auto leaking = dense_gpt(rng).transform_ffn([&](const FeedForward<float>& dense, Index) {
    return upcycle_feed_forward(dense, MemoryBankFusion<float>({.router_std = 1}), false,
                                {.experts = 3, .init = ZeroSum{2.0}}, rng);
  });
  train(leaking, rng);
  EXPECT_GT(changes(leaking, true).forbidden, 0);
  EXPECT_EQ(changes(leaking, false).forbidden, 0) << "evaluation uses the bank";
  EXPECT_THROW(upcycle(dense_gpt(rng), MemoryBankFusion<float>({.value = BankValue::routed}), {}, rng),
               ConfigError);
}

}  // namespace
}  // namespace exfusion
