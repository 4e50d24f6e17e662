#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/nn/exfusion_ffn.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/optim/ema.hpp>

#include "allocation_counter.hpp"

namespace exfusion {
namespace {

template <class F>
struct Model {
  Linear<double> in;
  std::vector<F> blocks;

  static void fields(auto& self, auto&& visit) {
    visit("in", self.in);
    visit("blocks", self.blocks);
  }
};

using Dense = Model<FeedForward<double>>;

template <class Rule>
using Fused = Model<ExFusionFFN<double, Rule>>;

Dense dense_model(Rng& rng) {
  const FeedForwardConfig config{.d_model = 3, .d_ff = 7};
  return {Linear<double>(5, 3, 1.0, rng),
          {FeedForward<double>(config, rng), FeedForward<double>(config, rng)}};
}

/// A rule with weights of its own for each row.
struct RowFusion {
  static constexpr bool constant_weights = false;
  Parameter<double> weights;

  static void fields(auto& self, auto&& visit) { visit("weights", self.weights); }
  FusionGranularity granularity() const { return FusionGranularity::row; }
  void initialise(const FusionSite& site, Rng& rng) {
    weights = Parameter<double>::normal({site.groups, site.experts}, 1.0, rng);
    weights.set_options({.decay = false, .fusion = true});
  }
  Tensor<double> training_weights(const Context<double>&, const Tensor<double>&) const { return weights; }
  Tensor<double> export_weights() const { return weights.detach(); }
};

/// A model of random experts, as training leaves them.
template <class Rule>
Fused<Rule> fused_model(Rng& rng) {
  const std::vector<SlabSegment> segments{{"up.weight", {7, 3}, true},
                                          {"up.bias", {7}, false},
                                          {"down.weight", {3, 7}, true},
                                          {"down.bias", {3}, false}};
  Fused<Rule> model{Linear<double>(5, 3, 1.0, rng), {}};
  for (int layer = 0; layer < 2; ++layer) {
    Rule rule;
    ExpertSlab<double> slab(4, segments, rule.granularity(), Rule::constant_weights);
    rule.initialise({4, slab.groups(), 3, false}, rng);
    for (Index i = 0; i < 4; ++i) {
      for (const auto& segment : slab.segments()) rng.fill_normal(slab.expert(i, segment), 0.0, 1.0);
    }
    model.blocks.push_back({std::move(slab), std::move(rule)});
  }
  return model;
}

template <class Rule>
Dense collapsed(const Fused<Rule>& model) {
  return {model.in, {model.blocks[0].collapsed(), model.blocks[1].collapsed()}};
}

void shift(const ParameterList<double>& list, double by) {
  for (const auto& parameter : list.parameters) {
    for (double& value : parameter.tensor.values()) value += by;
  }
}

TEST(Ema, FollowsTheFormulaWithAndWithoutWarmUp) {
  Rng rng(1);
  for (bool warmup : {false, true}) {
    Dense model = dense_model(rng);
    Ema<double> ema(model, {.decay = 0.3, .warmup = warmup});
    double expected = model.in.weight.data()[2];
    for (int t = 0; t < 6; ++t) {
      shift(collect_parameters<double>(model), 0.5 * t);
      ema.update(model);
      const double decay = warmup ? std::min(0.3, (1.0 + t) / (10.0 + t)) : 0.3;
      expected = decay * expected + (1 - decay) * model.in.weight.data()[2];
    }
    ema.copy_to(model);
    EXPECT_NEAR(model.in.weight.data()[2], expected, 1e-14);
    EXPECT_EQ(ema.updates(), 6);
  }
}

template <class Rule>
void expect_averages_of_the_fused_weights() {
  Rng rng(2);
  Fused<Rule> model = fused_model<Rule>(rng);
  Dense twin = collapsed(model), result = collapsed(model);
  Ema<double> ema(model, {.decay = 0.9}), twin_ema(twin, {.decay = 0.9});
  for (int step = 0; step < 3; ++step) {
    for (auto& block : model.blocks) {
      for (double& value : block.experts.expert(step)) value *= 1.5;
      block.experts.set_fused(false);
    }
    shift(collect_parameters<double>(model), 0.1 * step);
    twin = collapsed(model);
    ema.update(model);
    twin_ema.update(twin);
  }
  ema.copy_to(result);
  twin_ema.copy_to(twin);
  const auto got = collect_parameters<double>(result).parameters;
  const auto want = collect_parameters<double>(twin).parameters;
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].name, want[i].name);
    EXPECT_TRUE(std::ranges::equal(got[i].tensor.values(), want[i].tensor.values())) << got[i].name;
  }
}

TEST(Ema, AveragesOfFusedExpertsAreThoseOfTheCollapsedModelToTheBit) {
  expect_averages_of_the_fused_weights<StaticFusion<double>>();
  expect_averages_of_the_fused_weights<RowFusion>();
}

TEST(Ema, KeepsTheNumbersOfTheDenseModelOnly) {
  Rng rng(3);
  const auto model = fused_model<RowFusion>(rng);
  Ema<double> ema(model);
  std::vector<std::string> names;
  Index numbers = 0;
  ema.visit_state([&](const std::string& name, auto span) {
    names.push_back(name);
    numbers += static_cast<Index>(span.size());
  });
  EXPECT_EQ(numbers, 1 + exported_parameter_count<double>(model));
  EXPECT_EQ(names.at(0), "updates");
  EXPECT_EQ(names.at(3), "blocks.0.up.weight.average");
  EXPECT_EQ(names.back(), "blocks.1.down.bias.average");
}

TEST(Ema, LeavesParametersOfFusionRulesOut) {
  Rng rng(4);
  Dense model = dense_model(rng);
  model.in.bias.set_options({.fusion = true});
  Ema<double> ema(model, {.decay = 0.5});
  shift(collect_parameters<double>(model), 1.0);
  ema.update(model);
  const double bias = model.in.bias.data()[0] = 42;
  ema.copy_to(model);
  EXPECT_EQ(model.in.bias.data()[0], bias);
}

TEST(Ema, AnUpdateAllocatesNothing) {
  Rng rng(5);
  const auto dense = dense_model(rng);
  const auto fused = fused_model<StaticFusion<double>>(rng);
  Ema<double> dense_ema(dense), fused_ema(fused);
  const long before = testing::allocation_count;
  dense_ema.update(dense);
  fused_ema.update(fused);
  EXPECT_EQ(testing::allocation_count - before, 0);
}

TEST(Ema, RefusesModelsThatDoNotFit) {
  Rng rng(6);
  Dense model = dense_model(rng);
  Ema<double> ema(model);
  Dense other = dense_model(rng);
  other.in = Linear<double>(4, 3, 1.0, rng);
  const double kept = other.in.bias.data()[0];
  EXPECT_THROW(ema.update(other), ShapeError);
  EXPECT_THROW(ema.copy_to(other), ShapeError);
  EXPECT_EQ(other.in.bias.data()[0], kept);
  other = dense_model(rng);
  other.blocks.pop_back();
  EXPECT_THROW(ema.update(other), ShapeError);
  EXPECT_THROW(ema.copy_to(other), ShapeError);
  auto experts = fused_model<StaticFusion<double>>(rng);
  EXPECT_THROW(ema.copy_to(experts), ConfigError);
  EXPECT_THROW(Ema<double>(model, {.decay = 1}), ConfigError);
  EXPECT_THROW(Ema<double>(model, {.decay = -0.1}), ConfigError);
}

TEST(Ema, AnErrorNamesTheParameterAndBothShapes) {
  Rng rng(7);
  const Dense model = dense_model(rng);
  Dense other = model;
  other.in = Linear<double>(4, 3, 1.0, rng);
  try {
    Ema<double>(model).copy_to(other);
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[ema] parameter 0 is [3, 4]: the average of 'in.weight' is [3, 5]");
  }
}

struct BareExperts {
  ExpertSlab<double> slab{2, {{"weight", {2, 2}, true}}, FusionGranularity::layer, true};
  static void fields(auto& self, auto&& visit) { visit("slab", self.slab); }
};

TEST(Ema, RefusesExpertsOfWhichNobodySaysWhatTheyAmountTo) {
  EXPECT_THROW(Ema<double>(BareExperts{}), ConfigError);
}

}  // namespace
}  // namespace exfusion
