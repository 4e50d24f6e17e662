// Compares the models with what PyTorch computed for the same weights: scripts/make_fixtures.py writes
// tests/fixtures/{gpt,vit,exfusion_ffn}.safetensors.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/io/safetensors.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/models/vit.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>

namespace exfusion {
namespace {

io::SafetensorsReader fixture(const std::string& name) {
  return io::SafetensorsReader(EXFUSION_SOURCE_DIR "/tests/fixtures/" + name + ".safetensors");
}

/// Largest deviations from PyTorch: logits and losses absolute, each gradient relative to the tensor's
/// largest.
struct Deviations {
  double logits = 0;
  double gradients = 0;
  double losses = 0;
  std::string worst_gradient = "none";
  std::size_t gradients_compared = 0;

  bool within(double limit) const { return logits <= limit && gradients <= limit && losses <= limit; }
  bool all_beyond(double limit) const { return logits > limit && gradients > limit && losses > limit; }

  friend std::ostream& operator<<(std::ostream& out, const Deviations& d) {
    return out << "logits " << d.logits << ", gradients " << d.gradients << " (" << d.worst_gradient
               << "), losses " << d.losses;
  }
};

/// NaN counts as infinitely far.
template <Scalar T>
double largest_difference(std::span<const T> values, std::span<const double> expected) {
  EXPECT_EQ(values.size(), expected.size());
  double worst = 0;
  for (std::size_t i = 0; i < std::min(values.size(), expected.size()); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
    worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
  }
  return worst;
}

template <Scalar T>
void compare_gradient(Deviations& d, const io::SafetensorsReader& file, const std::string& name,
                      std::span<const T> gradient) {
  const auto expected = file.read<double>("grad." + name);
  double scale = 0;
  for (double value : expected.values()) scale = std::max(scale, std::abs(value));
  const double deviation = largest_difference<T>(gradient, expected.values()) / scale;
  ++d.gradients_compared;
  if (deviation <= d.gradients) return;
  d.gradients = deviation;
  d.worst_gradient = name;
}

/// Name of one expert's part in the file: "experts.1.up.weight".
template <Scalar T>
std::string expert_name(const NamedSlab<T>& slab, Index expert, const SlabSegment& segment) {
  return slab.name + "." + std::to_string(expert) + "." + segment.name;
}

template <Scalar T>
void load(const io::SafetensorsReader& file, const ParameterList<T>& list) {
  for (const auto& parameter : list.parameters) file.read_into(parameter.name, parameter.tensor);
  for (const auto& named : list.slabs) {
    for (Index i = 0; i < named.slab.experts(); ++i) {
      for (const SlabSegment& segment : named.slab.segments()) {
        const Tensor<T> place(named.slab.expert(i, segment).data(), segment.shape);
        file.read_into(expert_name(named, i, segment), place);
      }
    }
  }
}

/// Every expert's gradient a_i G, which the library never stores, from the dense G.
template <Scalar T>
void compare_gradients(Deviations& d, const io::SafetensorsReader& file, const NamedSlab<T>& named) {
  for (Index i = 0; i < named.slab.experts(); ++i) {
    for (const SlabSegment& segment : named.slab.segments()) {
      const T* g = named.slab.gradient() + segment.offset;
      std::vector<T> gradient(g, g + segment.shape.size());
      for (T& value : gradient) value *= named.slab.weights()[static_cast<std::size_t>(i)];
      compare_gradient<T>(d, file, expert_name(named, i, segment), gradient);
    }
  }
}

template <Scalar T>
void compare_gradients(Deviations& d, const io::SafetensorsReader& file, const ParameterList<T>& list) {
  for (const auto& slab : list.slabs) compare_gradients(d, file, slab);
  for (const auto& parameter : list.parameters)
    compare_gradient<T>(d, file, parameter.name, parameter.tensor.grad());
}

/// Logits, loss and gradients of the present weights, then ten AdamW steps. `forward(ctx)` computes the
/// logits.
template <Scalar T, class Forward>
Deviations compare(const io::SafetensorsReader& file, AdamW<T>& optimizer, CrossEntropyOptions options,
                   const Forward& forward) {
  Deviations d;
  const IntTensor targets = file.read_integers("targets");
  const auto losses = file.read<double>("losses");
  Tape<T> tape;
  const Context<T> ctx{.tape = &tape, .training = true};
  for (Index step = 0; step < losses.size(); ++step) {
    const Tensor<T> logits = forward(ctx);
    const Tensor<T> loss = cross_entropy(ctx, logits, targets, options);
    d.losses = std::max(d.losses, std::abs(static_cast<double>(loss.item()) - losses.data()[step]));
    tape.backward(loss);
    if (step == 0) {
      d.logits = largest_difference<T>(logits.values(), file.read<double>("logits").values());
      compare_gradients(d, file, optimizer.parameters());
    }
    optimizer.step();
    tape.clear();
  }
  return d;
}

template <Scalar T>
Gpt<T> load_gpt(const io::SafetensorsReader& file) {
  Rng rng(1);
  Gpt<T> model({.vocab_size = 29, .context = 12, .layers = 2, .heads = 4, .d_model = 32}, rng);
  load(file, collect_parameters<T>(model));
  return model;
}

template <Scalar T>
Deviations compare_gpt(const io::SafetensorsReader& file, const Gpt<T>& model) {
  AdamW<T> optimizer(model, {.lr = 1e-3, .beta2 = 0.95, .weight_decay = 0.1});
  const IntTensor tokens = file.read_integers("tokens");
  return compare(file, optimizer, {}, [&](const Context<T>& ctx) { return model(ctx, tokens); });
}

template <Scalar T>
Vit<T> load_vit(const io::SafetensorsReader& file) {
  Rng rng(1);
  Vit<T> model({.image_size = 12, .patch_size = 4, .classes = 5, .layers = 2, .heads = 3, .d_model = 24},
               rng);
  load(file, collect_parameters<T>(model));
  return model;
}

template <Scalar T>
Deviations compare_vit(const io::SafetensorsReader& file, const Vit<T>& model) {
  AdamW<T> optimizer(model, {.lr = 1e-3, .weight_decay = 0.05});
  const auto images = file.read<T>("images");
  return compare(file, optimizer, {.label_smoothing = 0.1},
                 [&](const Context<T>& ctx) { return model(ctx, images); });
}

template <Scalar T>
using LearnedFFN = ExFusionFFN<T, LearnedFusion<T>>;

template <Scalar T>
LearnedFFN<T> load_ffn(const io::SafetensorsReader& file) {
  Rng rng(1);
  const FeedForward<T> dense({.d_model = 16, .d_ff = 24}, rng);
  auto ffn = upcycle_feed_forward(dense, LearnedFusion<T>{}, true, {.experts = 3}, rng);
  load(file, collect_parameters<T>(ffn));
  return ffn;
}

template <Scalar T>
Deviations compare_ffn(const io::SafetensorsReader& file, const LearnedFFN<T>& ffn) {
  AdamW<T> optimizer(ffn, {.lr = 1e-3, .beta2 = 0.95, .weight_decay = 0.1});
  const auto x = file.read<T>("x");
  return compare(file, optimizer, {}, [&](const Context<T>& ctx) { return ffn(ctx, x); });
}

/// Every "grad." of the file was compared with something.
std::size_t gradients_in(const io::SafetensorsReader& file) {
  return static_cast<std::size_t>(
      std::ranges::count_if(file.tensors(), [](const auto& t) { return t.name.starts_with("grad."); }));
}

template <class T>
class PytorchParity : public ::testing::Test {
 public:
  /// Doubles are compared with results that were rounded to 32 bits.
  static constexpr double limit = std::same_as<T, float> ? 1e-5 : 1e-6;
};
using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(PytorchParity, Scalars);

TYPED_TEST(PytorchParity, GptHasTheSameLogitsGradientsAndLosses) {
  const auto file = fixture("gpt");
  const auto model = load_gpt<TypeParam>(file);
  const Deviations d = compare_gpt(file, model);
  EXPECT_TRUE(d.within(TestFixture::limit)) << d;
  EXPECT_EQ(d.gradients_compared, gradients_in(file));
}

TYPED_TEST(PytorchParity, VitHasTheSameLogitsGradientsAndLosses) {
  const auto file = fixture("vit");
  const auto model = load_vit<TypeParam>(file);
  const Deviations d = compare_vit(file, model);
  EXPECT_TRUE(d.within(TestFixture::limit)) << d;
  EXPECT_EQ(d.gradients_compared, gradients_in(file));
}

TYPED_TEST(PytorchParity, ExFusionFfnHasTheSameOutputsExpertGradientsAndLosses) {
  const auto file = fixture("exfusion_ffn");
  const auto ffn = load_ffn<TypeParam>(file);
  const Deviations d = compare_ffn(file, ffn);
  EXPECT_TRUE(d.within(TestFixture::limit)) << d;
  EXPECT_EQ(d.gradients_compared, gradients_in(file));
}

TEST(PytorchParityCheck, FailsWhenOneWeightIsChanged) {
  const auto gpt_file = fixture("gpt"), vit_file = fixture("vit"), ffn_file = fixture("exfusion_ffn");
  const auto gpt = load_gpt<float>(gpt_file);
  gpt.blocks[1].ffn.up.weight.data()[77] += 0.01F;
  const Deviations of_gpt = compare_gpt(gpt_file, gpt);
  EXPECT_TRUE(of_gpt.all_beyond(1e-5)) << of_gpt;
  const auto vit = load_vit<float>(vit_file);
  vit.blocks[0].attention.qkv.weight.data()[5] += 0.01F;
  const Deviations of_vit = compare_vit(vit_file, vit);
  EXPECT_TRUE(of_vit.all_beyond(1e-5)) << of_vit;
  const auto ffn = load_ffn<float>(ffn_file);
  ffn.experts.expert(2)[5] += 0.01F;
  const Deviations of_ffn = compare_ffn(ffn_file, ffn);
  EXPECT_TRUE(of_ffn.all_beyond(1e-5)) << of_ffn;
}

}  // namespace
}  // namespace exfusion
