#include <string>

#include <gtest/gtest.h>

#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/nn/transformer_block.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

struct BlockSizes {
  Index batch, length, heads, d_model, d_ff;
};
constexpr BlockSizes sizes[] = {
    {1, 1, 1, 1, 1}, {3, 7, 1, 3, 7}, {1, 3, 7, 7, 3}, {2, 17, 1, 3, 1}, {1, 3, 1, 17, 3}};

enum class Kind { gpt, vit };

using DenseBlock = TransformerBlock<double>;

/// Not zero: with d_model = 1 a layer normalisation gives nothing but its bias, and a router would see only
/// ties.
LayerNorm<double> make_norm(Index d_model, Rng& rng) {
  LayerNorm<double> norm(d_model, 0.1);
  rng.fill_normal(norm.bias.values(), 0.5, 0.3);
  return norm;
}

/// A GPT block is causal with GELU's tanh form, a ViT block is neither and drops whole samples too.
DenseBlock make_block(Kind kind, const BlockSizes& size, Rng& rng, double dropout = 0.3) {
  const bool causal = kind == Kind::gpt;
  const FeedForwardConfig config{.d_model = size.d_model,
                                 .d_ff = size.d_ff,
                                 .activation = causal ? Activation::gelu_tanh : Activation::gelu_erf,
                                 .init_std = 0.5,
                                 .down_init_std = 0.5};
  return {make_norm(size.d_model, rng),
          MultiHeadAttention<double>(size.d_model, size.heads, causal, 0.5, 0.5, rng),
          make_norm(size.d_model, rng),
          FeedForward<double>(config, rng),
          dropout,
          causal ? 0.0 : dropout};
}

/// Checks every parameter and expert, and the input. `change(dense)` gives the block to check.
template <class Change>
void expect_gradients(const std::string& what, const Change& change) {
  Rng rng(1);
  for (Kind kind : {Kind::gpt, Kind::vit}) {
    for (const BlockSizes& size : sizes) {
      const auto block = change(make_block(kind, size, rng), kind == Kind::gpt, rng);
      const auto x = Parameter<double>::normal({size.batch, size.length, size.d_model}, 1.0, rng);
      const auto result =
          testing::grad_check([&](const Context<double>& ctx) { return block(ctx, x); }, block, {x});
      EXPECT_TRUE(result) << what << (kind == Kind::gpt ? " in GPT: " : " in ViT: ") << result;
    }
  }
}

template <class Rule>
void expect_gradients_when_fused(const std::string& what, const Rule& rule) {
  expect_gradients(what, [&](const DenseBlock& dense, bool causal, Rng& rng) {
    const UpcycleOptions options{.experts = 3, .init = ZeroSum{.scale = 1.0}};
    auto ffn = upcycle_feed_forward(dense.ffn, rule, causal, options, rng);
    for (const auto& [name, tensor, how] : collect_parameters<double>(ffn).parameters) {
      rng.fill_normal(tensor.values(), 0.3, 0.5);
    }
    return dense.with_ffn(std::move(ffn));
  });
}

TEST(TransformerBlock, DenseGradientsMatchDifferences) {
  expect_gradients("dense", [](const DenseBlock& dense, bool, Rng&) { return dense; });
}

TEST(TransformerBlock, GradientsWithStaticFusionMatchDifferences) {
  expect_gradients_when_fused("static", StaticFusion<double>({.weights = {0.5, 0.3, 0.2}}));
}

TEST(TransformerBlock, GradientsWithLearnedFusionMatchDifferences) {
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    for (FusionGranularity granularity :
         {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
      expect_gradients_when_fused("learned",
                                  LearnedFusion<double>({.form = form, .granularity = granularity}));
    }
  }
}

TEST(TransformerBlock, GradientsWithSparseMixturesMatchDifferences) {
  for (Index k : {1, 2}) {
    expect_gradients("mixture", [k](const DenseBlock& dense, bool, Rng& rng) {
      SparseMoE<double> moe(dense.ffn, {.experts = 3, .k = k, .balance = 0.2, .router_std = 0.5}, rng);
      rng.fill_normal(moe.up.weight.values(), 0.0, 0.5);
      rng.fill_normal(moe.down.weight.values(), 0.0, 0.5);
      return dense.with_ffn(std::move(moe));
    });
  }
}

TEST(TransformerBlock, GradientsThroughARouterMatchDifferences) {
  Rng rng(2);
  for (const BlockSizes& size : sizes) {
    const auto dense = make_block(Kind::vit, size, rng);
    const auto block = dense.with_ffn(upcycle_feed_forward(
        dense.ffn, MemoryBankFusion<double>{}, false, {.experts = 3, .init = ZeroSum{.scale = 1.0}}, rng));
    rng.fill_normal(block.ffn.rule.router.weight.values(), 0.0, 1.0);
    const auto x = Parameter<double>::normal({size.batch, size.length, size.d_model}, 1.0, rng);
    const auto result =
        testing::grad_check([&](const Context<double>& ctx) { return block(ctx, x); }, block, {x});
    EXPECT_TRUE(result) << result;
  }
}

TEST(TransformerBlock, NothingIsDroppedInEvaluation) {
  Rng rng(3);
  auto block = make_block(Kind::vit, {2, 7, 1, 3, 7}, rng, 0.5);
  const auto x = Parameter<double>::normal({2, 7, 3}, 1.0, rng);
  const auto dropping = block(Context<double>{}, x);
  block.dropout = block.drop_path = 0;
  EXPECT_TRUE(std::ranges::equal(dropping.values(), block(Context<double>{}, x).values()));
}

}  // namespace
}  // namespace exfusion
