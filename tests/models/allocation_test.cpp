// What models own and what a training step allocates, by counting every allocation of the program.

#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>

#include "allocation_counter.hpp"

namespace exfusion {
namespace {

constexpr GptConfig gpt_config{
    .vocab_size = 65, .context = 32, .layers = 2, .heads = 4, .d_model = 32, .dropout = 0.1};
constexpr VitConfig vit_config{.image_size = 16,
                               .patch_size = 4,
                               .classes = 10,
                               .layers = 2,
                               .heads = 4,
                               .d_model = 32,
                               .dropout = 0.1,
                               .drop_path = 0.2};

Gpt<float> dense_gpt() {
  Rng rng(1);
  return Gpt<float>(gpt_config, rng);
}

template <class Rule>
auto fused_gpt(const Rule& rule) {
  Rng rng(2);
  return upcycle(dense_gpt(), rule, {.experts = 4}, rng);
}

auto moe_gpt(Activation activation = Activation::gelu_tanh) {
  Rng rng(3);
  GptConfig config = gpt_config;
  config.activation = activation;
  return Gpt<float>(config, rng).transform_ffn([&](const FeedForward<float>& ffn, Index) {
    return SparseMoE<float>(ffn, {.experts = 8, .k = 2, .router_std = 1.0}, rng);
  });
}

Vit<float> vit(Pooling pooling) {
  Rng rng(4);
  VitConfig config = vit_config;
  config.pooling = pooling;
  return Vit<float>(config, rng);
}

IntTensor random_integers(Shape shape, Index below, Rng& rng) {
  IntTensor result(shape);
  for (std::int32_t& value : result.values()) value = static_cast<std::int32_t>(rng.below(below));
  return result;
}

/// Allocations of each of a few steps with fresh data: the first may allocate, the others may not.
template <class Model, class Loss>
void expect_no_allocation(const Model& model, const IntTensor& targets, Index classes, const Loss& loss_of,
                          bool recompute = false) {
  Rng rng(5);
  AdamW<float> optimizer(model, {.lr = 1e-2});
  Tape<float> tape;
  for (int step = 0; step < 5; ++step) {
    for (std::int32_t& target : targets.values()) target = static_cast<std::int32_t>(rng.below(classes));
    const long before = testing::allocation_count;
    const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true, .recompute = recompute};
    const auto loss = loss_of(ctx);
    tape.backward(loss);
    clip_gradient_norm(optimizer.parameters(), 0.5);
    optimizer.set_learning_rate(1e-2 / (1 + step));
    optimizer.step();
    tape.clear();
    const long allocated = testing::allocation_count - before;
    if (step == 0) {
      EXPECT_GT(allocated, 0) << "the counter does not count";
    } else {
      EXPECT_EQ(allocated, 0) << "step " << step;
    }
  }
}

template <class Model>
void expect_no_allocation_in_gpt(const Model& model) {
  Rng rng(6);
  const auto tokens = random_integers({3, 32}, 65, rng);
  const auto targets = random_integers({3, 32}, 65, rng);
  const auto loss = [&](const auto& ctx) { return model.loss(ctx, tokens, targets); };
  expect_no_allocation(model, targets, 65, loss);
  expect_no_allocation(model, targets, 65, loss, true);
  expect_no_allocation(model, targets, 65, [&](const auto& ctx) {
    return linear_cross_entropy(ctx, model.hidden(ctx, tokens), model.wte, targets, {}, 65 * 7);
  });
  expect_no_allocation(model, targets, 65,
                       [&](const auto& ctx) { return cross_entropy(ctx, model(ctx, tokens), targets); });
}

TEST(TrainingStep, AllocatesNothingInADenseGpt) { expect_no_allocation_in_gpt(dense_gpt()); }

TEST(TrainingStep, AllocatesNothingInAFusedGptWithAnyRule) {
  expect_no_allocation_in_gpt(fused_gpt(StaticFusion<float>{}));
  expect_no_allocation_in_gpt(fused_gpt(LearnedFusion<float>{}));
  expect_no_allocation_in_gpt(fused_gpt(LearnedFusion<float>({.granularity = FusionGranularity::row})));
  expect_no_allocation_in_gpt(fused_gpt(MemoryBankFusion<float>{}));
  expect_no_allocation_in_gpt(fused_gpt(MemoryBankFusion<float>({.bank = {.memory = BankMemory::window}})));
}

TEST(TrainingStep, AllocatesNothingInAGptWithMixturesOfExperts) {
  expect_no_allocation_in_gpt(moe_gpt());
  expect_no_allocation_in_gpt(moe_gpt(Activation::swiglu));
}

TEST(TrainingStep, AllocatesNothingInAVit) {
  Rng rng(7);
  const auto images = Tensor<float>::empty({4, 3, 16, 16});
  rng.fill_normal(images.values(), 0.0, 1.0);
  const auto labels = random_integers({4}, 10, rng);
  for (Pooling pooling : {Pooling::cls, Pooling::mean}) {
    const auto dense = vit(pooling);
    const auto fused = upcycle(dense, {.experts = 4}, rng);
    for (bool recompute : {false, true}) {
      expect_no_allocation(
          dense, labels, 10, [&](const auto& ctx) { return cross_entropy(ctx, dense(ctx, images), labels); },
          recompute);
      expect_no_allocation(
          fused, labels, 10, [&](const auto& ctx) { return cross_entropy(ctx, fused(ctx, images), labels); },
          recompute);
    }
  }
}

/// Over-aligned blocks of memory, one for each Buffer, in what `make` returns.
template <class Make>
long blocks_of(const Make& make) {
  const long before = testing::live_aligned_blocks;
  const auto made = make();
  return testing::live_aligned_blocks - before;
}

/// A model's blocks are those of the fields that it names (a Parameter has two, its value and its gradient)
/// and `tensors` without a gradient. A member that `fields` leaves out is one too many.
template <class Make>
void expect_all_visited(const Make& make, long tensors = 0) {
  const auto list = collect_parameters<float>(make());
  long named = 2 * static_cast<long>(list.parameters.size());
  for (const auto& [name, slab] : list.slabs) {
    named += blocks_of([&slab = slab] { return ExpertSlab<float>(slab); });
  }
  EXPECT_EQ(blocks_of(make), named + tensors);
}

TEST(Fields, NameEveryParameterThatAModelConstructs) {
  expect_all_visited(dense_gpt);
  expect_all_visited([] { return fused_gpt(StaticFusion<float>{}); }, gpt_config.layers);
  expect_all_visited([] { return fused_gpt(LearnedFusion<float>{}); });
  expect_all_visited([] { return fused_gpt(MemoryBankFusion<float>{}); });
  expect_all_visited([] { return moe_gpt(); });
  expect_all_visited([] { return moe_gpt(Activation::swiglu); });
  expect_all_visited([] { return vit(Pooling::cls); });
  expect_all_visited([] { return vit(Pooling::mean); });
}

/// A module whose `fields` forgets a member.
struct Forgetful {
  Parameter<float> named{{2, 2}};
  Parameter<float> forgotten{{2, 2}};
  static void fields(auto& self, auto&& visit) { visit("named", self.named); }
};

TEST(Fields, AForgottenMemberIsNoticed) {
  EXPECT_EQ(blocks_of([] { return Forgetful(); }), 4);
  EXPECT_EQ(collect_parameters<float>(Forgetful()).parameters.size(), 1U);
}

}  // namespace
}  // namespace exfusion
