#include <gtest/gtest.h>

#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

LearnedFusion<double> learned(LearnedFusionOptions options, Index groups, Index experts) {
  LearnedFusion<double> rule(options);
  Rng rng(1);
  rule.initialise({.experts = experts, .groups = groups, .d_model = 4}, rng);
  return rule;
}

TEST(LearnedFusion, StartsUniformInBothForms) {
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    const auto a = learned({.form = form}, 3, 5).export_weights();
    EXPECT_EQ(a.shape(), (Shape{3, 5}));
    for (double value : a.values()) EXPECT_DOUBLE_EQ(value, 0.2);
  }
}

TEST(LearnedFusion, FlagsItsParameterAsTheRulesOwnWithoutDecay) {
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    const auto list = collect_parameters<double>(learned({.form = form, .lr_multiplier = 7}, 2, 3));
    ASSERT_EQ(list.parameters.size(), 1U);
    EXPECT_EQ(list.parameters[0].name, form == LearnedForm::softmax ? "logits" : "weights");
    EXPECT_FALSE(list.parameters[0].options.decay);
    EXPECT_TRUE(list.parameters[0].options.fusion);
    EXPECT_EQ(list.parameters[0].options.lr_multiplier, 7);
  }
}

TEST(LearnedFusion, GradientMatchesDifferences) {
  Rng rng(2);
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    for (Index experts : {1, 3, 7, 17}) {
      const auto rule = learned({.form = form}, 2, experts);
      rng.fill_normal(rule.learned.values(), 0.0, 1.0);
      const auto result = testing::grad_check(
          [&](const Context<double>& ctx) {
            return straight_through(ctx, rule.export_weights(), rule.training_weights(ctx, {}));
          },
          rule);
      if (experts > 1 || form == LearnedForm::free) {
        EXPECT_TRUE(result) << result;
      }
    }
  }
}

TEST(LearnedFusion, TrainingAndExportWeightsAgreeToTheBit) {
  Rng rng(3);
  const auto rule = learned({}, 5, 7);
  rng.fill_normal(rule.learned.values(), 0.0, 2.0);
  Tape<double> tape;
  const auto a = rule.training_weights({.tape = &tape, .training = true}, {});
  EXPECT_TRUE(testing::identical(a, rule.export_weights()));
  EXPECT_FALSE(rule.export_weights().requires_grad());
}

}  // namespace
}  // namespace exfusion
