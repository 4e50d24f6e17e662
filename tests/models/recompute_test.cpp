// Recomputation of Transformer blocks: the same bits in less memory.

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>

namespace exfusion {
namespace {

using Record = std::map<std::string, std::vector<float>>;

GptConfig gpt_config(double dropout) {
  return {.vocab_size = 19, .context = 9, .layers = 3, .heads = 2, .d_model = 12, .dropout = dropout};
}

Gpt<float> gpt(double dropout) {
  Rng rng(1);
  return Gpt<float>(gpt_config(dropout), rng);
}

Vit<float> vit(double drop) {
  Rng rng(2);
  return Vit<float>({.image_size = 6,
                     .patch_size = 2,
                     .classes = 5,
                     .layers = 3,
                     .heads = 2,
                     .d_model = 12,
                     .dropout = drop,
                     .drop_path = 2 * drop},
                    rng);
}

template <class Model, class Rule>
auto fused(const Model& dense, const Rule& rule) {
  Rng rng(3);
  return upcycle(dense, rule, {.experts = 3, .init = ZeroSum{0.5}}, rng);
}

template <class Model>
auto mixture(const Model& dense, Index k) {
  Rng rng(4);
  return dense.transform_ffn([&](const FeedForward<float>& ffn, Index) {
    return SparseMoE<float>(ffn, {.experts = 4, .k = k, .balance = 0.3, .router_std = 1.0}, rng);
  });
}

Tensor<float> loss_of(const auto& model, const Context<float>& ctx, Rng& data) {
  if constexpr (std::remove_cvref_t<decltype(model)>::causal) {
    const IntTensor tokens(Shape{3, 9});
    for (std::int32_t& token : tokens.values()) token = static_cast<std::int32_t>(data.below(19));
    return model.loss(ctx, tokens, tokens);
  } else {
    const auto images = Tensor<float>::empty({3, 3, 6, 6});
    data.fill_normal(images.values(), 0.0, 1.0);
    const IntTensor labels(Shape{3});
    for (std::int32_t& label : labels.values()) label = static_cast<std::int32_t>(data.below(5));
    return cross_entropy(ctx, model(ctx, images), labels);
  }
}

std::vector<float> numbers(std::span<const float> values) { return {values.begin(), values.end()}; }

/// All that three steps of training leave: losses, the last step's gradients, weights, experts and banks.
template <class Model>
Record train(Model model, bool recompute, int passes) {
  Rng data(5), rng(6);
  AdamW<float> optimizer(model, {.lr = 1e-2});
  Tape<float> tape;
  Record record;
  for (int step = 0; step < 3; ++step) {
    for (int pass = 0; pass < passes; ++pass) {
      const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true, .recompute = recompute};
      const Tensor<float> loss = loss_of(model, ctx, data);
      record["losses"].push_back(loss.item());
      record["losses"].push_back(tape.added_loss());
      tape.backward(loss, 0.5F);
      tape.clear();
    }
    const ParameterList<float>& list = optimizer.parameters();
    for (const auto& [name, tensor, how] : list.parameters) {
      record["gradient of " + name] = numbers(tensor.grad());
    }
    for (const auto& [name, slab] : list.slabs) {
      const auto size = static_cast<std::size_t>(slab.row_size());
      record["gradient of " + name] = numbers({slab.gradient(), size});
    }
    optimizer.step();
    for (const auto& [name, tensor, how] : list.parameters) record[name] = numbers(tensor.values());
    for (const auto& [name, slab] : list.slabs) {
      const auto size = static_cast<std::size_t>(slab.row_size() * slab.experts());
      record[name] = numbers({slab.data(), size});
    }
    for (const auto& [name, state] : list.states) record[name] = numbers(state->values());
  }
  record["generator"] = {static_cast<float>(rng.state().counter)};
  return record;
}

template <class Model>
void expect_same_bits(const Model& model, int passes = 1) {
  const Record plain = train(model, false, passes), recomputed = train(model, true, passes);
  ASSERT_GT(plain.size(), 10U);
  for (const auto& [name, values] : plain) EXPECT_EQ(values, recomputed.at(name)) << name;
  EXPECT_EQ(plain.size(), recomputed.size());
}

TEST(Recomputation, GivesTheSameBitsInDenseModels) {
  for (double drop : {0.0, 0.2}) {
    expect_same_bits(gpt(drop));
    expect_same_bits(vit(drop));
  }
}

TEST(Recomputation, GivesTheSameBitsWithEveryFusionRule) {
  for (double drop : {0.0, 0.2}) {
    for (int passes : {1, 2}) {
      expect_same_bits(fused(gpt(drop), StaticFusion<float>{}), passes);
      expect_same_bits(fused(gpt(drop), LearnedFusion<float>{}), passes);
      expect_same_bits(fused(gpt(drop), LearnedFusion<float>({.form = LearnedForm::free})), passes);
      expect_same_bits(fused(gpt(drop), MemoryBankFusion<float>{}), passes);
      expect_same_bits(fused(vit(drop), LearnedFusion<float>({.granularity = FusionGranularity::row})),
                       passes);
      expect_same_bits(fused(vit(drop), MemoryBankFusion<float>({.value = BankValue::straight_through})),
                       passes);
    }
    expect_same_bits(fused(vit(drop), MemoryBankFusion<float>({.value = BankValue::routed})));
    expect_same_bits(fused(vit(drop), MemoryBankFusion<float>({.bank = {.memory = BankMemory::window}})));
  }
}

TEST(Recomputation, GivesTheSameBitsWithSparseMixturesAndTheirOwnLoss) {
  for (double drop : {0.0, 0.2}) {
    expect_same_bits(mixture(gpt(drop), 1));
    expect_same_bits(mixture(gpt(drop), 2), 2);
    expect_same_bits(mixture(vit(drop), 2));
  }
}

/// Bytes that the tape takes in one pass.
template <class Model>
double tape_bytes(const Model& model, bool recompute) {
  Rng data(7), rng(8);
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true, .recompute = recompute};
  tape.backward(loss_of(model, ctx, data));
  return static_cast<double>(tape.peak_bytes());
}

TEST(Recomputation, KeepsOneBlockAndTheInputsOfTheOthers) {
  const auto bytes = [](Index layers, bool recompute) {
    Rng rng(9);
    GptConfig config = gpt_config(0.1);
    config.d_model = 128;
    config.layers = layers;
    return tape_bytes(Gpt<float>(config, rng), recompute);
  };
  const double stream = 3 * 9 * 128 * sizeof(float);  // one block's input
  const double plain = bytes(9, false) - bytes(8, false), recomputed = bytes(9, true) - bytes(8, true);
  EXPECT_GT(plain, 11 * stream);  // two sums, what was normalised twice, q, k, v, their answer, 4 D hidden
  EXPECT_GE(recomputed, stream);
  EXPECT_LT(recomputed, 1.1 * stream);
  EXPECT_LT(bytes(9, true), bytes(9, false) / 3);
}

TEST(Recomputation, OfAModelWithoutATapeChangesNothing) {
  const auto model = gpt(0);
  Rng first(10), second(10);
  EXPECT_EQ(loss_of(model, {}, first).item(), loss_of(model, {.recompute = true}, second).item());
}

}  // namespace
}  // namespace exfusion
