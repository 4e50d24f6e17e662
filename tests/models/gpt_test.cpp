#include <cmath>
#include <functional>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/testing/grad_check.hpp>

namespace exfusion {
namespace {

constexpr GptConfig small{.vocab_size = 13, .context = 8, .layers = 2, .heads = 2, .d_model = 8, .d_ff = 12};

IntTensor random_tokens(Shape shape, Index vocab_size, Rng& rng) {
  IntTensor tokens(shape);
  for (std::int32_t& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(vocab_size));
  return tokens;
}

/// Larger weights than a fresh model's, so that everything matters.
void scramble(const auto& model, Rng& rng) {
  for (const auto& [name, tensor, options] : collect_parameters<double>(model).parameters) {
    rng.fill_normal(tensor.values(), name.find("norm") == std::string::npos ? 0.0 : 1.0, 0.4);
  }
}

auto with_moe(const Gpt<double>& dense, Rng& rng) {
  return dense.transform_ffn([&](const FeedForward<double>& ffn, Index) {
    return SparseMoE<double>(ffn, {.experts = 3, .k = 2, .balance = 0.1, .router_std = 1.0}, rng);
  });
}

TEST(Gpt, AFreshModelPredictsAllTokensAlike) {
  Rng rng(1);
  const Gpt<float> model({.vocab_size = 65, .context = 16, .layers = 2, .heads = 4, .d_model = 32}, rng);
  const auto tokens = random_tokens({3, 16}, 65, rng);
  const Context<float> ctx;
  const auto logits = model(ctx, tokens);
  EXPECT_EQ(logits.shape(), (Shape{3, 16, 65}));
  const auto targets = random_tokens({3, 16}, 65, rng);
  EXPECT_NEAR(cross_entropy(ctx, logits, targets).item(), std::log(65.0), 0.1);
}

TEST(Gpt, InitialWeightsHaveGpt2sSpread) {
  Rng rng(2);
  const Gpt<double> model({.vocab_size = 300, .context = 64, .layers = 8, .heads = 4, .d_model = 64}, rng);
  const auto spread = [](const Tensor<double>& x) {
    double sum = 0;
    for (double value : x.values()) sum += value * value;
    return std::sqrt(sum / static_cast<double>(x.size()));
  };
  EXPECT_NEAR(spread(model.wte), 0.02, 0.001);
  EXPECT_NEAR(spread(model.wpe), 0.02, 0.001);
  EXPECT_NEAR(spread(model.blocks[3].attention.qkv.weight), 0.02, 0.001);
  EXPECT_NEAR(spread(model.blocks[3].ffn.up.weight), 0.02, 0.001);
  EXPECT_NEAR(spread(model.blocks[3].attention.projection.weight), 0.005, 0.0003);
  EXPECT_NEAR(spread(model.blocks[3].ffn.down.weight), 0.005, 0.0003);
  EXPECT_EQ(model.blocks[3].ffn.up.weight.shape(), (Shape{256, 64}));
}

TEST(Gpt, GradientsOfAWholeModelMatchDifferences) {
  Rng rng(3);
  for (Activation activation : {Activation::gelu_tanh, Activation::swiglu}) {
    Gpt<double> model({.vocab_size = 7,
                       .context = 3,
                       .layers = 2,
                       .heads = 1,
                       .d_model = 3,
                       .d_ff = 5,
                       .dropout = 0.2,
                       .activation = activation},
                      rng);
    scramble(model, rng);
    const auto tokens = random_tokens({2, 3}, 7, rng);
    const auto result = testing::grad_check(
        [&](const Context<double>& ctx) { return cross_entropy(ctx, model(ctx, tokens), tokens); }, model);
    EXPECT_TRUE(result) << result;
  }
}

TEST(Gpt, GradientsOfAWholeModelWithMixturesOfExpertsMatchDifferences) {
  Rng rng(4);
  const Gpt<double> dense(
      {.vocab_size = 7, .context = 3, .layers = 2, .heads = 1, .d_model = 3, .d_ff = 3, .dropout = 0.2}, rng);
  const auto model = with_moe(dense, rng);
  scramble(model, rng);
  const auto tokens = random_tokens({2, 3}, 7, rng);
  const auto result = testing::grad_check(
      [&](const Context<double>& ctx) { return cross_entropy(ctx, model(ctx, tokens), tokens); }, model);
  EXPECT_TRUE(result) << result;
}

TEST(Gpt, GradientsOfAWholeModelWithFusedExpertsMatchDifferences) {
  Rng rng(14);
  const Gpt<double> dense(
      {.vocab_size = 7, .context = 3, .layers = 2, .heads = 1, .d_model = 3, .d_ff = 3, .dropout = 0.2}, rng);
  scramble(dense, rng);
  const auto model = upcycle(dense, LearnedFusion<double>{}, {.experts = 3, .init = ZeroSum{1.0}}, rng);
  const auto tokens = random_tokens({2, 3}, 7, rng);
  const auto result = testing::grad_check(
      [&](const Context<double>& ctx) { return cross_entropy(ctx, model(ctx, tokens), tokens); }, model);
  EXPECT_TRUE(result) << result;
}

template <class Model>
void expect_no_leak(const Model& model, Rng& rng) {
  const auto tokens = random_tokens({2, 8}, 13, rng);
  const auto before = model(Context<double>{}, tokens);
  for (Index changed = 0; changed < 8; ++changed) {
    IntTensor other(tokens.shape(), tokens.values());
    for (Index sequence : {0, 1}) {
      std::int32_t& token = other.data()[sequence * 8 + changed];
      token = (token + 1) % 13;
    }
    const auto after = model(Context<double>{}, other);
    for (Index row = 0; row < 16; ++row) {
      const auto offset = static_cast<std::size_t>(row * 13);
      const bool same =
          std::ranges::equal(before.values().subspan(offset, 13), after.values().subspan(offset, 13));
      EXPECT_EQ(same, row % 8 < changed) << "token " << changed << ", row " << row;
    }
  }
}

TEST(Gpt, ChangingATokenChangesNoEarlierLogit) {
  Rng rng(5);
  const Gpt<double> dense(small, rng);
  const auto moe = with_moe(dense, rng);
  scramble(dense, rng);
  scramble(moe, rng);
  expect_no_leak(dense, rng);
  expect_no_leak(moe, rng);
}

TEST(Gpt, LastLogitsAreThoseOfTheLastPosition) {
  Rng rng(6);
  const Gpt<double> model(small, rng);
  for (Index length : {1, 3, 8}) {
    const auto tokens = random_tokens({3, length}, 13, rng);
    const auto all = model(Context<double>{}, tokens), last = model.last_logits(Context<double>{}, tokens);
    ASSERT_EQ(last.shape(), (Shape{3, 13}));
    for (Index i = 0; i < last.size(); ++i) {
      EXPECT_NEAR(last.data()[i], all.data()[(i / 13 * length + length - 1) * 13 + i % 13], 1e-14);
    }
  }
}

TEST(Gpt, LossAndItsGradientsAreThoseOfTheLogits) {
  Rng rng(12);
  const Gpt<double> model(small, rng);
  scramble(model, rng);
  const auto tokens = random_tokens({3, 8}, 13, rng), targets = random_tokens({3, 8}, 13, rng);
  const auto parameters = collect_parameters<double>(model).parameters;
  const auto numbers = [&](const auto& loss_of) {
    Tape<double> tape;
    const auto loss = loss_of(Context<double>{.tape = &tape});
    tape.backward(loss);
    std::vector<double> all{loss.item()};
    for (const auto& [name, tensor, options] : parameters) {
      all.insert(all.end(), tensor.grad().begin(), tensor.grad().end());
      tensor.gradient()->clear();
    }
    return all;
  };
  for (const CrossEntropyOptions& options : {CrossEntropyOptions{}, {.label_smoothing = 0.1}}) {
    const auto expected =
        numbers([&](const auto& ctx) { return cross_entropy(ctx, model(ctx, tokens), targets, options); });
    const auto got = numbers([&](const auto& ctx) { return model.loss(ctx, tokens, targets, options); });
    EXPECT_EQ(got, expected);
  }
}

TEST(Gpt, CopiesAndTransformedModelsShareNothing) {
  Rng rng(7);
  const Gpt<double> model(small, rng);
  const auto tokens = random_tokens({1, 8}, 13, rng);
  const auto before = model(Context<double>{}, tokens);
  const Gpt<double> copy = model;
  const auto moe = with_moe(model, rng);
  const auto of_copy = copy(Context<double>{}, tokens), of_moe = moe(Context<double>{}, tokens);
  EXPECT_TRUE(std::ranges::equal(before.values(), of_copy.values()));
  for (Index i = 0; i < before.size(); ++i) EXPECT_NEAR(of_moe.data()[i], before.data()[i], 1e-13);
  scramble(copy, rng);
  scramble(moe, rng);
  EXPECT_TRUE(std::ranges::equal(before.values(), model(Context<double>{}, tokens).values()));
}

TEST(Gpt, NamesItsParametersOnceAndInOrder) {
  Rng rng(8);
  GptConfig config = small;
  config.layers = 1;
  std::vector<std::string> names;
  for (const auto& parameter : collect_parameters<float>(Gpt<float>(config, rng)).parameters) {
    names.push_back(parameter.name);
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{
                "wte", "wpe", "blocks.0.norm1.weight", "blocks.0.norm1.bias", "blocks.0.attention.qkv.weight",
                "blocks.0.attention.qkv.bias", "blocks.0.attention.projection.weight",
                "blocks.0.attention.projection.bias", "blocks.0.norm2.weight", "blocks.0.norm2.bias",
                "blocks.0.ffn.up.weight", "blocks.0.ffn.up.bias", "blocks.0.ffn.down.weight",
                "blocks.0.ffn.down.bias", "norm.weight", "norm.bias"}));
}

/// A feed-forward network that the library does not know: one matrix.
struct OneMatrix {
  Parameter<double> matrix;
  static void fields(auto& self, auto&& visit) { visit("matrix", self.matrix); }
  Tensor<double> operator()(const Context<double>& ctx, const Tensor<double>& x) const {
    return linear(ctx, x, matrix);
  }
};

TEST(Gpt, TakesAFeedForwardNetworkOfTheUsersOwn) {
  Rng rng(9);
  const Gpt<double> dense(small, rng);
  std::vector<Index> layers;
  const auto model = dense.transform_ffn([&](const FeedForward<double>&, Index layer) {
    layers.push_back(layer);
    return OneMatrix{Parameter<double>::normal({8, 8}, 0.3, rng)};
  });
  EXPECT_EQ(layers, (std::vector<Index>{0, 1}));
  const auto tokens = random_tokens({1, 3}, 13, rng);
  const auto result =
      testing::grad_check([&](const Context<double>& ctx) { return model(ctx, tokens); }, model);
  EXPECT_TRUE(result) << result;
}

TEST(Gpt, ResultsAndGradientsDoNotDependOnTheNumberOfThreads) {
  Rng rng(10);
  const Gpt<float> model(
      {.vocab_size = 65, .context = 64, .layers = 2, .heads = 4, .d_model = 64, .dropout = 0.1}, rng);
  const auto tokens = random_tokens({5, 64}, 65, rng);
  const auto list = collect_parameters<float>(model);
  const int threads_before = omp_get_max_threads();
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    Rng masks(11);
    Tape<float> tape;
    const Context<float> ctx{.tape = &tape, .rng = &masks, .training = true};
    const auto loss = cross_entropy(ctx, model(ctx, tokens), tokens);
    tape.backward(loss);
    std::vector<std::vector<float>> results{{loss.item()}};
    for (const auto& parameter : list.parameters) {
      results.emplace_back(parameter.tensor.grad().begin(), parameter.tensor.grad().end());
    }
    if (first.empty()) first = results;
    EXPECT_EQ(results, first) << threads << " threads";
    list.discard_gradients();
  }
  omp_set_num_threads(threads_before);
}

TEST(Gpt, NamesTheConfigurationValueAndItsLimit) {
  Rng rng(12);
  const auto message = [&](const std::function<void(GptConfig&)>& change) -> std::string {
    GptConfig config = small;
    change(config);
    try {
      Gpt<float>(config, rng);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](auto&) {}), "accepted");
  EXPECT_EQ(message([](auto& c) { c.vocab_size = 0; }), "[gpt] vocab_size = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.context = 0; }), "[gpt] context = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.layers = -2; }), "[gpt] layers = -2: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.heads = 0; }), "[gpt] heads = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.heads = 3; }), "[gpt] d_model = 8 is not divisible by heads = 3");
  EXPECT_EQ(message([](auto& c) { c.d_model = 0; }), "[gpt] d_model = 0: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.d_ff = -1; }), "[gpt] d_ff = -1: it must be at least 1");
  EXPECT_EQ(message([](auto& c) { c.dropout = 1; }), "[gpt] dropout = 1: it must be in [0, 1)");
  EXPECT_EQ(message([](auto& c) { c.dropout = std::nan(""); }), "[gpt] dropout = nan: it must be in [0, 1)");
  EXPECT_EQ(message([](auto& c) { c.layer_norm_eps = 0; }), "[gpt] layer_norm_eps = 0: it must be positive");
  EXPECT_EQ(message([](auto& c) { c.vocab_size = Index{1} << 60; }),
            "[gpt] wte would hold 9.22337e+18 numbers: more than 2^44");
  EXPECT_EQ(message([](auto& c) { c.d_ff = Index{1} << 62; }),
            "[gpt] ffn would hold 2.21361e+20 numbers: more than 2^44");
}

TEST(Gpt, NamesTokensThatDoNotFit) {
  Rng rng(13);
  const Gpt<float> model({.vocab_size = 13, .context = 256, .layers = 1, .heads = 2, .d_model = 8}, rng);
  try {
    model(Context<float>{}, IntTensor(Shape{4, 300}));
    FAIL() << "more tokens than the context were accepted";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[gpt] tokens are [4, 300]: 300 tokens exceed the model's context of 256");
  }
  EXPECT_THROW(model(Context<float>{}, IntTensor(Shape{4})), ShapeError);
  EXPECT_THROW(model(Context<float>{}, IntTensor(Shape{0, 4})), ShapeError);
  EXPECT_THROW(model(Context<float>{}, IntTensor(Shape{4, 0})), ShapeError);
  EXPECT_THROW(model.last_logits(Context<float>{}, IntTensor(Shape{4})), ShapeError);
  EXPECT_THROW(model(Context<float>{}, IntTensor({1, 2}, {3, 13})), Error);
  EXPECT_THROW(model(Context<float>{}, IntTensor({1, 2}, {-1, 3})), Error);
}

}  // namespace
}  // namespace exfusion
