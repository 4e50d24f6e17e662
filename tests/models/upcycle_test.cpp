#include <cmath>

#include <gtest/gtest.h>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

TEST(Upcycle, DefaultsAreTheBankCopiesAndFourExperts) {
  Rng rng(1);
  const auto dense = testing::tiny_model<float>(rng);
  const auto model = upcycle(dense, {}, rng);
  using Bank = ExFusionFFN<float, MemoryBankFusion<float>>;
  static_assert(std::is_same_v<decltype(model), const testing::TinyModel<float, Bank, true>>);
  EXPECT_EQ(model.ffns[0].experts.experts(), 4);
  EXPECT_EQ(model.ffns[0].rule.options.value, BankValue::straight_through);
  EXPECT_TRUE(std::ranges::equal(model.ffns[1].experts.expert(0), model.ffns[1].experts.expert(3)));

  const auto image_like = upcycle(testing::tiny_model<float, false>(rng), {}, rng);
  EXPECT_EQ(image_like.ffns[0].rule.options.value, BankValue::routed);
}

TEST(Upcycle, FusedModelComputesWhatTheDenseOneDoes) {
  Rng rng(2);
  for (Activation activation : {Activation::gelu_tanh, Activation::gelu_erf, Activation::swiglu}) {
    const auto dense = testing::tiny_model<double>(rng, 2, 7, activation);
    const auto x = Parameter<double>::normal({2, 3, 7}, 1.0, rng);
    const auto expected = dense({}, x);
    const double limit =
        1e-14 * std::abs(std::ranges::max(expected.values(), {}, [](double v) { return std::abs(v); }));
    const auto check = [&](const auto& rule) {
      for (const ExpertInit& init : {ExpertInit(Copies{}), ExpertInit(ZeroSum{1.0}), ExpertInit(Drop{0.4})}) {
        const auto model = upcycle(dense, rule, {.experts = 3, .init = init}, rng);
        testing::expect_near(model({}, x), expected, limit, "in evaluation");
        testing::expect_near(model({.training = true}, x), expected, limit, "in training");
      }
    };
    check(StaticFusion<double>{});
    check(StaticFusion<double>({.weights = {0.2, 0.7, 0.1}}));
    check(LearnedFusion<double>{});
    check(LearnedFusion<double>({.granularity = FusionGranularity::row}));
    check(LearnedFusion<double>({.form = LearnedForm::free, .granularity = FusionGranularity::matrix}));
    check(MemoryBankFusion<double>{});
  }
}

TEST(Upcycle, CountsTrainedAndExportedParameters) {
  Rng rng(3);
  const auto dense = testing::tiny_model<float>(rng);
  const Index input = dense.input.weight.size() + dense.input.bias.size();
  const Index ffns = parameter_count<float>(dense) - input;
  const auto model = upcycle(dense, {.experts = 3}, rng);
  EXPECT_EQ(exported_parameter_count<float>(model), parameter_count<float>(dense));
  EXPECT_EQ(parameter_count<float>(model), input + 3 * ffns + 2 * (3 * 6 + 3));
}

TEST(Upcycle, ModelOwnsEverythingItself) {
  Rng rng(4);
  const auto dense = testing::tiny_model<double>(rng);
  const auto x = Parameter<double>::normal({2, 6}, 1.0, rng);
  const auto model = upcycle(dense, LearnedFusion<double>{}, {}, rng);
  const auto copy = model;
  const auto expected = model({}, x);
  for (const auto& parameter : collect_parameters<double>(dense).parameters) {
    std::ranges::fill(parameter.tensor.values(), 9.0);
  }
  const auto list = collect_parameters<double>(copy);
  for (const auto& parameter : list.parameters) std::ranges::fill(parameter.tensor.values(), 2.0);
  for (const auto& [name, slab] : list.slabs) {
    std::ranges::fill(slab.expert(1), 2.0);
    slab.set_fused(false);
  }
  EXPECT_TRUE(testing::identical(model({}, x), expected));
  EXPECT_FALSE(testing::identical(copy({}, x), expected));
}

TEST(Upcycle, EveryLayerHasARuleOfItsOwn) {
  Rng rng(5);
  const auto model = upcycle(testing::tiny_model<float>(rng), MemoryBankFusion<float>{}, {}, rng);
  EXPECT_NE(model.ffns[0].rule.router.weight.data(), model.ffns[1].rule.router.weight.data());
  EXPECT_NE(model.ffns[0].rule.router.weight.data()[0], model.ffns[1].rule.router.weight.data()[0]);
  EXPECT_NE(model.ffns[0].rule.bank.share(), model.ffns[1].rule.bank.share());
}

TEST(Upcycle, KeepsWhetherASegmentDecays) {
  Rng rng(6);
  auto dense = testing::tiny_model<float>(rng, 1);
  dense.ffns[0].down.weight.set_options({.decay = false});
  const auto model = upcycle(dense, {}, rng);
  std::vector<bool> decay;
  for (const SlabSegment& segment : model.ffns[0].experts.segments()) decay.push_back(segment.decay);
  EXPECT_EQ(decay, (std::vector<bool>{true, false, false, false}));
}

TEST(Upcycle, RefusesNoExpertsAndWeightsThatAreNotOnePerExpert) {
  Rng rng(7);
  const auto dense = testing::tiny_model<float>(rng);
  const auto message = testing::message_of<ConfigError>([&] { upcycle(dense, {.experts = 0}, rng); });
  EXPECT_EQ(message, "[experts] their number is 0: it must be between 1 and 65536");
  EXPECT_THROW(upcycle(dense, StaticFusion<float>({.weights = {0.5, 0.5}}), {.experts = 3}, rng),
               ConfigError);
  EXPECT_THROW(upcycle(dense, MemoryBankFusion<float>({.value = BankValue::routed}), {}, rng), ConfigError);
}

TEST(Upcycle, TakesNetworksWithoutBiases) {
  Rng rng(8);
  auto dense = testing::tiny_model<float>(rng, 1, 6, Activation::swiglu);
  for (auto* linear : {&dense.ffns[0].gate, &dense.ffns[0].up, &dense.ffns[0].down}) linear->bias = {};
  const auto x = Parameter<float>::normal({2, 6}, 1.0, rng);
  const auto model = upcycle(dense, {}, rng);
  EXPECT_EQ(model.ffns[0].experts.segments().size(), 3U);
  EXPECT_TRUE(testing::identical(model({}, x), dense({}, x)));
  EXPECT_FALSE(collapse(model).ffns[0].up.bias);
}

}  // namespace
}  // namespace exfusion
