// What docs/method.md derives about training fused experts, with whole models trained side by side.

#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/models/collapse.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/clip.hpp>
#include <exfusion/optim/sgd.hpp>

#include "optim/naive_adamw.hpp"
#include "optim/toy_model.hpp"

namespace exfusion {
namespace {

constexpr Index vocab = 11;
constexpr double sum_of_squared_weights = 0.01 + 0.04 + 0.09 + 0.16;

Gpt<double> dense_gpt(Rng& rng) {
  return {{.vocab_size = vocab, .context = 6, .layers = 2, .heads = 2, .d_model = 8, .d_ff = 20}, rng};
}

auto static_gpt(const ExpertInit& init, Rng& rng) {
  const StaticFusion<double> rule(StaticFusionOptions{.weights = {0.1, 0.2, 0.3, 0.4}});
  return upcycle(dense_gpt(rng), rule, {.experts = 4, .init = init}, rng);
}

const std::vector<ExpertInit> expert_inits{Copies{}, ZeroSum{1.5}, Drop{0.5, false}};

IntTensor random_tokens(Rng& rng) {
  IntTensor tokens({3, 6});
  for (auto& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(vocab));
  return tokens;
}

/// Adds the gradients of one batch.
template <class Model>
void add_gradients(const Model& model, const IntTensor& tokens, const IntTensor& targets) {
  Tape<double> tape;
  const Context<double> ctx{.tape = &tape, .training = true};
  tape.backward(cross_entropy(ctx, model(ctx, tokens), targets), 0.5);
}

template <class Fused>
double largest_difference(const Fused& fused, const Gpt<double>& dense) {
  const auto collapsed = collapse(fused);
  const auto got = collect_parameters<double>(collapsed).parameters;
  const auto want = collect_parameters<double>(dense).parameters;
  EXPECT_EQ(got.size(), want.size());
  double largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    for (Index j = 0; j < want[i].tensor.size(); ++j) {
      largest = std::max(largest, std::abs(got[i].tensor.data()[j] - want[i].tensor.data()[j]));
    }
  }
  return largest;
}

/// Trains a statically fused model and the dense model that it amounts to at the start, on the same batches
/// of two micro-batches, with clipped gradients; after each step they must agree to 1e-12.
template <class Optimizer, class Options>
void expect_dense_training(const Options& fused_options, const Options& dense_options) {
  for (const ExpertInit& init : expert_inits) {
    Rng rng(1);
    const auto fused = static_gpt(init, rng);
    const Gpt<double> dense = collapse(fused), start = dense;
    Optimizer fused_optimizer(fused, fused_options), dense_optimizer(dense, dense_options);
    for (int step = 0; step < 12; ++step) {
      for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
        const IntTensor tokens = random_tokens(rng), targets = random_tokens(rng);
        add_gradients(fused, tokens, targets);
        add_gradients(dense, tokens, targets);
      }
      const double norm = clip_gradient_norm(dense_optimizer.parameters(), 0.2);
      EXPECT_GT(norm, 0.2) << "nothing was clipped";
      EXPECT_NEAR(clip_gradient_norm(fused_optimizer.parameters(), 0.2), norm, 1e-12);
      fused_optimizer.step();
      dense_optimizer.step();
      EXPECT_LT(largest_difference(fused, dense), 1e-12) << "step " << step;
    }
    EXPECT_GT(largest_difference(fused, start), 1e-3) << "nothing was trained";
  }
}

TEST(FusedTraining, StaticWeightsUnderAdamWAreDenseTrainingForAnyExperts) {
  const AdamWOptions options{.lr = 1e-3, .weight_decay = 0.1};
  expect_dense_training<AdamW<double>>(options, options);
}

TEST(FusedTraining, StaticWeightsUnderAdamWAreDenseTrainingWhereEpsMatters) {
  const AdamWOptions options{.lr = 1e-2, .beta1 = 0.5, .beta2 = 0.9, .eps = 1e-2, .weight_decay = 0.3};
  expect_dense_training<AdamW<double>>(options, options);
}

std::vector<SgdOptions> all_kinds_of_sgd() {
  std::vector<SgdOptions> kinds;
  for (double decay : {0.0, 0.1}) {
    kinds.push_back({.lr = 0.2, .weight_decay = decay});
    kinds.push_back({.lr = 0.1, .momentum = 0.8, .weight_decay = decay});
    kinds.push_back({.lr = 0.1, .momentum = 0.8, .nesterov = true, .weight_decay = decay});
  }
  return kinds;
}

TEST(FusedTraining, StaticWeightsUnderSgdAreDenseTrainingAtTheGivenRate) {
  for (const SgdOptions& options : all_kinds_of_sgd()) expect_dense_training<Sgd<double>>(options, options);
}

TEST(FusedTraining, UncorrectedStaticWeightsUnderSgdAreDenseTrainingAtAnotherRate) {
  for (SgdOptions options : all_kinds_of_sgd()) {
    options.fusion_lr_correction = false;
    SgdOptions dense = options;
    dense.groups = {{.pattern = ".ffn.",
                     .lr_multiplier = sum_of_squared_weights,
                     .weight_decay = options.weight_decay / sum_of_squared_weights}};
    expect_dense_training<Sgd<double>>(options, dense);
  }
}

/// Trains with AdamW and checks every slab against experts whose gradients were materialised.
template <class Rule>
void expect_naive_experts(const Rule& rule, bool moves) {
  Rng rng(2);
  const auto model = upcycle(dense_gpt(rng), rule, {.experts = 4, .init = ZeroSum{1.0}}, rng);
  const AdamWOptions options{.lr = 1e-2, .weight_decay = 0.1};
  AdamW<double> optimizer(model, options);
  std::vector<testing::NaiveAdamW> naive;
  for (const auto& [name, slab] : optimizer.parameters().slabs) naive.emplace_back(slab, options);
  const double first = model.blocks[0].ffn.rule.export_weights().data()[0];
  for (int step = 0; step < 6; ++step) {
    add_gradients(model, random_tokens(rng), random_tokens(rng));
    for (std::size_t i = 0; i < naive.size(); ++i) naive[i].step(optimizer.parameters().slabs[i].slab);
    optimizer.step();
    for (std::size_t i = 0; i < naive.size(); ++i) {
      EXPECT_LT(testing::worst_difference(optimizer.parameters().slabs[i].slab, naive[i].p), 1e-12);
    }
  }
  EXPECT_EQ(model.blocks[0].ffn.rule.export_weights().data()[0] != first, moves);
}

TEST(FusedTraining, NoRuleNeedsTheExpertsGradients) {
  expect_naive_experts(StaticFusion<double>{}, false);
  expect_naive_experts(LearnedFusion<double>{}, true);
  expect_naive_experts(
      LearnedFusion<double>({.form = LearnedForm::free, .granularity = FusionGranularity::row}), true);
  expect_naive_experts(MemoryBankFusion<double>{}, true);
}

/// The loss on 8 batches of random tokens, which are to be repeated.
template <class Rule>
double loss_after_training(const Rule& rule, bool short_moments) {
  Rng rng(3);
  const auto model = upcycle(dense_gpt(rng), rule, {.experts = 4, .init = ZeroSum{0.5}}, rng);
  AdamW<double> optimizer(model, {.lr = 1e-2, .weight_decay = 0.1, .bf16_moments = short_moments});
  std::vector<IntTensor> text;
  for (int i = 0; i < 8; ++i) text.push_back(random_tokens(rng));
  double loss = 0;
  for (int step = 0; step < 160; ++step) {
    Tape<double> tape;
    const Context<double> ctx{.tape = &tape, .training = true};
    const IntTensor& tokens = text[static_cast<std::size_t>(step % 8)];
    const Tensor<double> batch_loss = cross_entropy(ctx, model(ctx, tokens), tokens);
    tape.backward(batch_loss);
    optimizer.step();
    if (step >= 152) loss += batch_loss.item() / 8;
  }
  return loss;
}

TEST(FusedTraining, MomentsInBfloat16LearnAsWell) {
  const auto expect_near = [](const auto& rule) {
    const double full = loss_after_training(rule, false), half = loss_after_training(rule, true);
    EXPECT_LT(full, 1.0) << "nothing was learned";
    EXPECT_NEAR(half, full, 0.01);
    EXPECT_NE(half, full);
  };
  expect_near(LearnedFusion<double>{});
  expect_near(MemoryBankFusion<double>{});
}

}  // namespace
}  // namespace exfusion
