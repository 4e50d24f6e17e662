#include <limits>

#include <gtest/gtest.h>

#include <exfusion/nn/memory_bank_fusion.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

template <Scalar T>
MemoryBankFusion<T> bank_rule(bool causal, MemoryBankFusionOptions options = {}) {
  MemoryBankFusion<T> rule(options);
  Rng rng(1);
  rule.initialise({.experts = 4, .d_model = 6, .causal = causal}, rng);
  return rule;
}

TEST(MemoryBankFusion, ChoosesStraightThroughInCausalModelsAndRoutedInOthers) {
  EXPECT_EQ(bank_rule<float>(true).options.value, BankValue::straight_through);
  EXPECT_EQ(bank_rule<float>(false).options.value, BankValue::routed);
  EXPECT_EQ(bank_rule<float>(false, {.value = BankValue::straight_through}).options.value,
            BankValue::straight_through);
}

TEST(MemoryBankFusion, RefusesRoutedInACausalModelAndSaysWhatToChoose) {
  const auto message =
      testing::message_of<ConfigError>([] { bank_rule<float>(true, {.value = BankValue::routed}); });
  EXPECT_NE(message.find("straight_through"), std::string::npos) << message;
}

TEST(MemoryBankFusion, RefusesOptionsOutOfRange) {
  EXPECT_THROW(bank_rule<float>(true, {.router_std = -1}), ConfigError);
  EXPECT_THROW(bank_rule<float>(true, {.router_std = std::numeric_limits<double>::infinity()}), ConfigError);
  EXPECT_THROW(bank_rule<float>(true, {.bank = {.beta = 1}}), ConfigError);
}

TEST(MemoryBankFusion, RouterSeesTheMeanOverBatchAndTokens) {
  Rng rng(2);
  const auto x = Parameter<double>::normal({3, 5, 6}, 1.0, rng);
  const auto rule = bank_rule<double>(false);
  rng.fill_normal(rule.router.bias.values(), 0.0, 1.0);
  std::vector<double> z(4);
  for (Index i = 0; i < 4; ++i) {
    z[static_cast<std::size_t>(i)] = rule.router.bias.data()[i];
    for (Index row = 0; row < 15; ++row) {
      for (Index d = 0; d < 6; ++d) {
        z[static_cast<std::size_t>(i)] += rule.router.weight.data()[i * 6 + d] * x.data()[row * 6 + d] / 15;
      }
    }
  }
  double sum = 0;
  for (double value : z) sum += std::exp(value);
  const auto a = rule.training_weights({.training = true}, x);
  ASSERT_EQ(a.shape(), (Shape{1, 4}));
  for (Index i = 0; i < 4; ++i) {
    EXPECT_NEAR(a.data()[i], std::exp(z[static_cast<std::size_t>(i)]) / sum, 1e-14);
  }
  rule.bank->end_step();
  for (Index i = 0; i < 4; ++i) {
    EXPECT_NEAR(rule.export_weights().data()[i], 0.1 * 0.25 + 0.9 * a.data()[i], 1e-15);
  }
}

TEST(MemoryBankFusion, StraightThroughHasTheBanksValueToTheBit) {
  Rng rng(3);
  const auto x = Parameter<float>::normal({3, 5, 6}, 1.0, rng);
  const auto rule = bank_rule<float>(true);
  for (int step = 0; step < 3; ++step) {
    Tape<float> tape;
    const auto used = rule.training_weights({.tape = &tape, .training = true}, x);
    EXPECT_TRUE(used.requires_grad());
    EXPECT_TRUE(testing::identical(used, rule.export_weights()));
    rule.bank->end_step();
    EXPECT_FALSE(testing::identical(used, rule.export_weights()))
        << "the value is the bank's before the step";
  }
}

TEST(MemoryBankFusion, ObservesInTrainingOnly) {
  Rng rng(4);
  const auto x = Parameter<float>::normal({3, 6}, 1.0, rng);
  const auto rule = bank_rule<float>(true);
  rule.training_weights({}, x);
  rule.bank->end_step();
  EXPECT_EQ(rule.bank->steps(), 0);
  rule.training_weights({.training = true}, x);
  rule.bank->end_step();
  EXPECT_EQ(rule.bank->steps(), 1);
}

TEST(MemoryBankFusion, RouterIsTheRulesOwnWithoutDecayAndItsBankAStepState) {
  const auto rule = bank_rule<float>(true, {.lr_multiplier = 3});
  const auto list = collect_parameters<float>(rule);
  ASSERT_EQ(list.parameters.size(), 2U);
  for (const auto& parameter : list.parameters) {
    EXPECT_FALSE(parameter.options.decay) << parameter.name;
    EXPECT_TRUE(parameter.options.fusion) << parameter.name;
    EXPECT_EQ(parameter.options.lr_multiplier, 3) << parameter.name;
  }
  EXPECT_EQ(list.parameters[0].name, "router.weight");
  EXPECT_EQ(list.parameters[0].tensor.shape(), (Shape{4, 6}));
  ASSERT_EQ(list.states.size(), 1U);
  EXPECT_EQ(list.states[0].name, "bank");
  for (float value : rule.router.bias.values()) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace exfusion
