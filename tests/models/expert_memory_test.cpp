// What experts cost in a training step, in bytes asked from the heap: their weights and moments, and next to
// nothing else that grows with their number.

#include <cstddef>

#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>

#include "allocation_counter.hpp"

namespace exfusion {
namespace {

using Bytes = std::ptrdiff_t;

constexpr GptConfig config{.vocab_size = 65, .context = 32, .layers = 2, .heads = 4, .d_model = 32};
// Numbers of one feed-forward network. Its segments end on whole cache lines: there is no padding.
constexpr Bytes ffn_size = 2 * 32 * 128 + 128 + 32;

struct Use {
  Bytes total = 0;  ///< Model, gradients, optimizer and tape after a step.
  Bytes arena = 0;  ///< The tape's blocks alone.
};

/// What is in use after two training steps of the model that `make` returns, and not before it was made.
template <class Make>
Use use_of(const Make& make) {
  Rng rng(1);
  const IntTensor tokens(Shape{4, 32});
  for (std::int32_t& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(65));
  const Bytes before = testing::live_bytes;
  const auto model = make();
  AdamW<float> optimizer(model);
  Tape<float> tape;
  for (int step = 0; step < 2; ++step) {
    const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    tape.backward(model.loss(ctx, tokens, tokens));
    optimizer.step();
    tape.clear();
  }
  return {testing::live_bytes - before, static_cast<Bytes>(tape.arena().peak_bytes())};
}

Gpt<float> dense_model() {
  Rng rng(2);
  return Gpt<float>(config, rng);
}

template <class Rule>
Use use_of_experts(Index experts, const Rule& rule) {
  return use_of([&] {
    Rng rng(3);
    return upcycle(dense_model(), rule, {.experts = experts}, rng);
  });
}

/// Bytes of one more expert in one layer beside its weights and moments: fusion weights (of the last pass,
/// and those that W was made with), products and room for reductions in double.
Bytes slab_bytes_of_one_expert(const ExpertSlab<float>& slab) {
  const auto floats = 2 * slab.groups();
  const auto doubles = slab.groups() + slab.groups() + std::ssize(slab.spans());
  return floats * Bytes{sizeof(float)} + doubles * Bytes{sizeof(double)};
}

ExpertSlab<float> slab_of_one_layer() {
  Rng rng(4);
  const auto model = upcycle(dense_model(), {.experts = 1}, rng);
  return model.blocks[0].ffn.experts;
}

// The room in which kernels pack matrices is made at a process's first step and serves all models.
class ExpertMemory : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { use_of(dense_model); }
};

TEST_F(ExpertMemory, OfTheMemoryBankIsWeightsAndMomentsAndAFewNumbersOfTheRouter) {
  const ExpertSlab<float> slab = slab_of_one_layer();
  ASSERT_EQ(slab.row_size(), ffn_size);
  const Bytes weights_and_moments = 3 * ffn_size * Bytes{sizeof(float)};
  // The router's row and bias: value, gradient and two moments. The bank: one number and its sum in double.
  const Bytes router = 4 * (config.d_model + 1) * Bytes{sizeof(float)};
  const Bytes bank = sizeof(float) + sizeof(double);
  const Bytes beside = slab_bytes_of_one_expert(slab) + router + bank;
  EXPECT_LT(beside - router, 100);

  const MemoryBankFusion<float> rule;
  const Use dense = use_of(dense_model), one = use_of_experts(1, rule);
  for (Index experts : {2, 4, 8, 16}) {
    const Use use = use_of_experts(experts, rule);
    EXPECT_EQ(use.total - one.total, (experts - 1) * config.layers * (weights_and_moments + beside));
    EXPECT_EQ(use.arena, one.arena);
  }
  // The dense model's weights, gradients and moments went; what came besides is W, G and the layers' records.
  const Bytes without_expert = one.total - config.layers * (weights_and_moments + beside);
  const Bytes went = config.layers * 4 * ffn_size * Bytes{sizeof(float)};
  const Bytes came = config.layers * 2 * ffn_size * Bytes{sizeof(float)};
  EXPECT_GT(without_expert, dense.total - went + came - 4096);
  EXPECT_LT(without_expert, dense.total - went + came + 4096);
}

TEST_F(ExpertMemory, OfConstantWeightsIsWeightsAloneForTheMomentsAreShared) {
  const ExpertSlab<float> slab = slab_of_one_layer();
  const Bytes weights = ffn_size * Bytes{sizeof(float)};
  const Bytes own_weight = sizeof(float);  // the rule's a
  const StaticFusion<float> rule;
  const Use one = use_of_experts(1, rule);
  for (Index experts : {2, 4, 8, 16}) {
    const Use use = use_of_experts(experts, rule);
    EXPECT_EQ(use.total - one.total,
              (experts - 1) * config.layers * (weights + slab_bytes_of_one_expert(slab) + own_weight));
    EXPECT_EQ(use.arena, one.arena);
  }
}

}  // namespace
}  // namespace exfusion
