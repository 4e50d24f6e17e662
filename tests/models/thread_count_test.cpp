// Training gives the same bits for any number of threads: whole runs, with dropout and clipping.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/exfusion.hpp>

namespace exfusion {
namespace {

/// The ways to train that are tried: `train` adds the tape and the generator.
const std::vector<Context<float>> settings{{.training = true},
                                           {.training = true, .precision = Precision::bf16}};

// The smallest sizes at which every loop over activations or weights has more than one range to share out
// (products with a long inner dimension: kernels/gemm_test.cpp).
constexpr GptConfig gpt_config{
    .vocab_size = 210, .context = 75, .layers = 1, .heads = 5, .d_model = 80, .dropout = 0.1};
constexpr VitConfig vit_config{.image_size = 16,
                               .patch_size = 2,
                               .classes = 10,
                               .layers = 2,
                               .heads = 5,
                               .d_model = 80,
                               .dropout = 0.1,
                               .drop_path = 0.2};
constexpr Index batch = 3;
constexpr int steps = 50;
constexpr double max_norm = 0.5;

struct NamedBits {
  std::string name;
  std::vector<std::uint32_t> bits;
};

/// What a run leaves behind.
struct Run {
  std::vector<NamedBits> numbers;
  int clipped = 0;  ///< Steps in which the gradients' norm was over the limit.

  void keep(const std::string& name, std::span<const float> values) {
    NamedBits& kept = numbers.emplace_back(NamedBits{name, {}});
    std::ranges::transform(values, std::back_inserter(kept.bits),
                           [](float value) { return std::bit_cast<std::uint32_t>(value); });
  }
};

/// Trains a copy of `initial` on `threads` threads; `loss_of(model, ctx, rng)` draws a batch and gives its
/// loss.
template <class Model, class Loss>
Run train(const Model& initial, const Loss& loss_of, const Context<float>& setting, int threads) {
  omp_set_num_threads(threads);
  const Model model = initial;
  Rng rng(1);
  AdamW<float> optimizer(model, {.lr = 3e-3});
  Tape<float> tape;
  Context<float> ctx = setting;
  ctx.tape = &tape;
  ctx.rng = &rng;
  Run run;
  std::vector<float> losses;
  for (int step = 0; step < steps; ++step) {
    const Tensor<float> loss = loss_of(model, ctx, rng);
    losses.push_back(loss.item());
    tape.backward(loss);
    if (clip_gradient_norm(optimizer.parameters(), max_norm) > max_norm) ++run.clipped;
    optimizer.step();
    tape.clear();
  }
  run.keep("losses", losses);
  for (const auto& [name, tensor, options] : optimizer.parameters().parameters)
    run.keep(name, tensor.values());
  for (const auto& [name, slab] : optimizer.parameters().slabs) {
    for (Index i = 0; i < slab.experts(); ++i) run.keep(name + "." + std::to_string(i), slab.expert(i));
  }
  for (const auto& [name, state] : optimizer.parameters().states) run.keep(name, state->values());
  return run;
}

template <class Model, class Loss>
void expect_same_for_any_number_of_threads(const Model& model, const Loss& loss_of) {
  const int threads_before = omp_get_max_threads();
  for (const Context<float>& setting : settings) {
    const Run alone = train(model, loss_of, setting, 1);
    EXPECT_GT(alone.clipped, 0) << "clipping was not tried";
    EXPECT_TRUE(std::isfinite(std::bit_cast<float>(alone.numbers[0].bits.back())));
    for (int threads : {2, 3, 5, 8}) {
      const Run run = train(model, loss_of, setting, threads);
      ASSERT_EQ(run.numbers.size(), alone.numbers.size());
      for (std::size_t i = 0; i < alone.numbers.size(); ++i) {
        EXPECT_TRUE(run.numbers[i].bits == alone.numbers[i].bits)
            << alone.numbers[i].name << " on " << threads << " threads";
      }
    }
  }
  omp_set_num_threads(threads_before);
}

IntTensor random_integers(Shape shape, Index below, Rng& rng) {
  IntTensor result(shape);
  for (std::int32_t& value : result.values()) value = static_cast<std::int32_t>(rng.below(below));
  return result;
}

template <class Model>
void expect_same_gpt(const Model& model) {
  expect_same_for_any_number_of_threads(model, [](const Model& trained, const Context<float>& ctx, Rng& rng) {
    const Shape shape{batch, gpt_config.context};
    const IntTensor tokens = random_integers(shape, gpt_config.vocab_size, rng);
    return trained.loss(ctx, tokens, random_integers(shape, gpt_config.vocab_size, rng));
  });
}

Gpt<float> dense_gpt() {
  Rng rng(2);
  return Gpt<float>(gpt_config, rng);
}

template <class Rule>
auto fused_gpt(const Rule& rule) {
  Rng rng(3);
  return upcycle(dense_gpt(), rule, {.experts = 3, .init = ZeroSum{}}, rng);
}

TEST(ThreadCount, DoesNotChangeTheTrainingOfADenseGpt) { expect_same_gpt(dense_gpt()); }

TEST(ThreadCount, DoesNotChangeTheTrainingOfAGptFusedByABank) {
  expect_same_gpt(fused_gpt(MemoryBankFusion<float>{}));
}

TEST(ThreadCount, DoesNotChangeTheTrainingOfAGptFusedByLearnedWeights) {
  expect_same_gpt(fused_gpt(LearnedFusion<float>({.granularity = FusionGranularity::matrix})));
}

TEST(ThreadCount, DoesNotChangeTheTrainingOfAGptFusedByFixedWeights) {
  expect_same_gpt(fused_gpt(StaticFusion<float>{}));
}

TEST(ThreadCount, DoesNotChangeTheTrainingOfAGptWithMixturesOfExperts) {
  Rng rng(4);
  expect_same_gpt(dense_gpt().transform_ffn([&](const FeedForward<float>& ffn, Index) {
    return SparseMoE<float>(ffn, {.experts = 4, .k = 2, .router_std = 1.0}, rng);
  }));
}

TEST(ThreadCount, DoesNotChangeTheTrainingOfAFusedVit) {
  Rng rng(5);
  const auto model = upcycle(Vit<float>(vit_config, rng), {.experts = 3, .init = ZeroSum{}}, rng);
  using Model = std::remove_cvref_t<decltype(model)>;
  const auto images = Tensor<float>::empty({batch, 3, vit_config.image_size, vit_config.image_size});
  expect_same_for_any_number_of_threads(
      model, [&](const Model& trained, const Context<float>& ctx, Rng& draws) {
        draws.fill_normal(images.values(), 0.0, 1.0);
        return cross_entropy(ctx, trained(ctx, images), random_integers({batch}, vit_config.classes, draws));
      });
}

}  // namespace
}  // namespace exfusion
