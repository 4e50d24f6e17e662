// An optimizer sums up the next fused weights while it updates the experts. Whatever happens between two
// steps, training must give the same bits as with a pass of its own for fusing.

#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/gpt.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/optim/ema.hpp>
#include <exfusion/optim/sgd.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

constexpr Index vocab = 11;

/// Its matrices are longer than the parts that optimizers work on, and none of their sizes is a power of two.
Gpt<float> dense_gpt(Rng& rng) {
  return {{.vocab_size = vocab, .context = 6, .layers = 2, .heads = 2, .d_model = 26, .d_ff = 61}, rng};
}

template <class Rule>
auto fused_gpt(const Rule& rule, Index experts = 3) {
  Rng rng(1);
  return upcycle(dense_gpt(rng), rule, {.experts = experts, .init = ZeroSum{1.0}}, rng);
}

IntTensor random_tokens(Rng& rng) {
  IntTensor tokens({2, 6});
  for (auto& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(vocab));
  return tokens;
}

/// Adds the gradients of one batch.
template <class Model>
float add_gradients(const Model& model, Rng& rng) {
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape, .training = true};
  const IntTensor tokens = random_tokens(rng);
  const Tensor<float> loss = cross_entropy(ctx, model(ctx, tokens), random_tokens(rng));
  tape.backward(loss, 0.5F);
  return loss.item();
}

template <class Model>
void forget_fused(const Model& model) {
  for (const auto& block : model.blocks) block.ffn.experts.set_fused(false);
}

/// Whether every W belongs to the experts' present values and to the weights that the rule now gives.
template <class Model>
bool is_fused(const Model& model) {
  return std::ranges::all_of(model.blocks, [](const auto& block) {
    const auto& slab = block.ffn.experts;
    return slab.is_fused() &&
           std::ranges::equal(slab.fused_weights(), block.ffn.rule.export_weights().values());
  });
}

template <class Model>
std::vector<float> all_numbers(const Model& model) {
  std::vector<float> numbers;
  const auto list = collect_parameters<float>(model);
  for (const auto& parameter : list.parameters) {
    numbers.insert(numbers.end(), parameter.tensor.values().begin(), parameter.tensor.values().end());
  }
  for (const auto& [name, slab] : list.slabs) {
    numbers.insert(numbers.end(), slab.data(), slab.data() + slab.experts() * slab.row_size());
  }
  for (const auto& [name, state] : list.states) {
    numbers.insert(numbers.end(), state->values().begin(), state->values().end());
  }
  for (const Tensor<float>& part : model.blocks[0].ffn.fused_segments()) {
    numbers.insert(numbers.end(), part.values().begin(), part.values().end());
  }
  return numbers;
}

/// Trains a model and a copy of it in which every pass fuses for itself: two micro-batches a step, clipped,
/// with an average, an evaluation and a step that is skipped in between.
template <class Rule, class MakeOptimizer>
void expect_same_training(const Rule& rule, const MakeOptimizer& make, Index experts) {
  const auto model = fused_gpt(rule, experts), reference = model;
  auto optimizer = make(model), reference_optimizer = make(reference);
  Ema<float> average(model), reference_average(reference);
  Rng rng(2), reference_rng(2);
  const auto train = [](const auto& trained, auto& its_optimizer, Ema<float>& its_average, Rng& its_rng,
                        int step, bool separate) {
    float loss = 0;
    for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
      loss += add_gradients(trained, its_rng);
      if (step == 2) trained({}, random_tokens(its_rng));
    }
    clip_gradient_norm(its_optimizer.parameters(), 0.2);
    step == 3 ? its_optimizer.skip_step() : its_optimizer.step();
    EXPECT_TRUE(is_fused(trained)) << "step " << step;
    if (separate) forget_fused(trained);
    its_average.update(trained);
    if (separate) forget_fused(trained);
    return loss;
  };
  for (int step = 0; step < 6; ++step) {
    const float loss = train(model, optimizer, average, rng, step, false);
    EXPECT_EQ(loss, train(reference, reference_optimizer, reference_average, reference_rng, step, true));
    EXPECT_EQ(all_numbers(model), all_numbers(reference)) << "step " << step;
  }
}

template <class MakeOptimizer>
void expect_same_training_for_every_rule(const MakeOptimizer& make) {
  for (Index experts : {1, 5}) {
    expect_same_training(StaticFusion<float>{}, make, experts);
    expect_same_training(MemoryBankFusion<float>{}, make, experts);
    expect_same_training(MemoryBankFusion<float>({.bank = {.memory = BankMemory::window, .window = 2}}), make,
                         experts);
    for (FusionGranularity granularity :
         {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
      for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
        expect_same_training(LearnedFusion<float>({.form = form, .granularity = granularity}), make, experts);
      }
    }
  }
}

TEST(UpdateExperts, AdamWLeavesTheNextFusedWeightsAsAPassOfItsOwnWould) {
  expect_same_training_for_every_rule([](const auto& model) { return AdamW<float>(model, {.lr = 1e-2}); });
}

TEST(UpdateExperts, AdamWWithShortMomentsDoesToo) {
  expect_same_training_for_every_rule(
      [](const auto& model) { return AdamW<float>(model, {.lr = 1e-2, .bf16_moments = true}); });
}

TEST(UpdateExperts, SgdLeavesTheNextFusedWeightsAsAPassOfItsOwnWould) {
  for (double momentum : {0.0, 0.9}) {
    expect_same_training_for_every_rule(
        [momentum](const auto& model) { return Sgd<float>(model, {.lr = 0.05, .momentum = momentum}); });
  }
}

TEST(UpdateExperts, LeavesFusingToThePassWhereWeightsDependOnIt) {
  Rng rng(3);
  const auto own = fused_gpt(testing::GatedRule<float>{});
  AdamW<float> optimizer(own);
  add_gradients(own, rng);
  optimizer.step();
  EXPECT_FALSE(own.blocks[0].ffn.experts.is_fused());

  const auto dense = testing::tiny_model<float, false>(rng);
  const auto routed = upcycle(dense, MemoryBankFusion<float>{}, {.experts = 3}, rng);
  AdamW<float> routed_optimizer(routed);
  Tape<float> tape;
  testing::pass(routed, Parameter<float>::normal({2, 3, 6}, 1.0, rng), tape);
  routed_optimizer.step();
  EXPECT_FALSE(routed.ffns[0].experts.is_fused());
}

TEST(UpdateExperts, DoesNotTouchTheFusedWeightsThatAPassStillNeeds) {
  Rng rng(4);
  const auto model = fused_gpt(LearnedFusion<float>{});
  const auto& slab = model.blocks[0].ffn.experts;
  AdamW<float> optimizer(model, {.lr = 1e-2});
  Tape<float> pending;
  const Context<float> ctx{.tape = &pending, .training = true};
  const IntTensor tokens = random_tokens(rng);
  const auto loss = cross_entropy(ctx, model(ctx, tokens), tokens);
  const std::vector<float> w(slab.fused(), slab.fused() + slab.row_size());
  add_gradients(model, rng);
  optimizer.step();
  EXPECT_FALSE(slab.is_fused());
  EXPECT_EQ(std::vector<float>(slab.fused(), slab.fused() + slab.row_size()), w);
  pending.backward(loss);
  EXPECT_EQ(slab.uses(), 0) << "its backward pass is over, although the tape is not cleared";
  optimizer.step();
  EXPECT_TRUE(is_fused(model));
}

TEST(UpdateExperts, SeesWhatIsChangedByHandBetweenTwoSteps) {
  Rng rng(5);
  const auto model = fused_gpt(LearnedFusion<float>{});
  AdamW<float> optimizer(model, {.lr = 1e-2});
  add_gradients(model, rng);
  optimizer.step();
  const IntTensor tokens = random_tokens(rng);
  const auto expect_as_if_fused_again = [&] {
    const Tensor<float> logits = model({}, tokens);
    const auto copy = model;
    forget_fused(copy);
    EXPECT_TRUE(testing::identical(logits, copy({}, tokens)));
    EXPECT_TRUE(testing::identical(logits, collapse(model)({}, tokens)));
  };
  const Tensor<float> before = model({}, tokens);
  expect_as_if_fused_again();
  model.blocks[1].ffn.rule.learned.data()[0] += 1;
  expect_as_if_fused_again();
  EXPECT_FALSE(testing::identical(model({}, tokens), before));
  model.blocks[0].ffn.experts.expert(2)[0] += 1;
  model.blocks[0].ffn.experts.set_fused(false);
  expect_as_if_fused_again();
  add_gradients(model, rng);
  optimizer.step();
  EXPECT_TRUE(is_fused(model));
  expect_as_if_fused_again();
}

TEST(UpdateExperts, ReadsTheRuleOfTheModelThatItTrainsAfterCopiesAndMoves) {
  Rng rng(6);
  auto original = fused_gpt(LearnedFusion<float>{});
  add_gradients(original, rng);
  const auto copy = original;
  EXPECT_FALSE(copy.blocks[0].ffn.experts.load_next_weights()) << "a copy has not been in training";
  original.blocks[0].ffn.rule.learned.data()[0] += 2;

  AdamW<float> of_copy(copy, {.lr = 1e-2}), of_original(original, {.lr = 1e-2});
  const auto moved = std::move(original);
  add_gradients(copy, rng);
  of_copy.step();
  EXPECT_TRUE(is_fused(copy));
  of_original.skip_step();
  add_gradients(moved, rng);
  of_original.step();
  EXPECT_TRUE(is_fused(moved));
}

TEST(UpdateExperts, ReadsTheBankAsItIsThenEvenIfItWasReplaced) {
  Rng rng(8);
  const auto model = fused_gpt(MemoryBankFusion<float>{});
  AdamW<float> optimizer(model, {.lr = 1e-2});
  add_gradients(model, rng);
  for (const auto& block : model.blocks) {
    MemoryBank<float> other(3, {.memory = BankMemory::window, .window = 3});
    other.weights().data()[0] = 0.75F;
    *block.ffn.rule.bank = std::move(other);
  }
  optimizer.step();
  EXPECT_EQ(model.blocks[0].ffn.experts.fused_weights()[0], 0.75F);
  EXPECT_TRUE(is_fused(model));
}

TEST(UpdateExperts, NextWeightsOfAnotherShapeAreNotUsed) {
  Rng rng(7);
  const ExpertSlab<float> slab(3, {{"weight", {2, 2}}}, FusionGranularity::layer, false);
  slab.set_next_weights({.values = Tensor<float>::zeros({1, 2})});
  EXPECT_FALSE(slab.load_next_weights());
  slab.set_next_weights({.values = Tensor<float>::from({1, 3}, {0.25F, 0.5F, 0.25F})});
  EXPECT_TRUE(slab.load_next_weights());
  EXPECT_EQ(slab.fused_weights()[1], 0.5F);
}

}  // namespace
}  // namespace exfusion
