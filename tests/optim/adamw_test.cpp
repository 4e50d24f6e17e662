#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/optim/adamw.hpp>

#include "allocation_counter.hpp"
#include "optim/naive_adamw.hpp"
#include "optim/toy_model.hpp"

namespace exfusion {
namespace {

using testing::copy_gradient;
using testing::dense_twin;
using testing::fused_weights;
using testing::granularities;
using testing::NaiveAdamW;
using testing::random_gradient;
using testing::random_gradients;
using testing::random_toy;
using testing::random_weights;
using testing::worst_difference;

template <Scalar T>
double worst_torch_difference() {
  double worst = 0;
  for (const auto& fixture : testing::torch_cases()) {
    if (!fixture.at("name").get<std::string>().starts_with("adamw")) continue;
    worst = std::max(worst, testing::worst_difference_to_torch<T>(
                                fixture, [](const auto& model, const nlohmann::json& options) {
                                  return AdamW<T>(model, {.beta1 = options.at("betas")[0],
                                                          .beta2 = options.at("betas")[1],
                                                          .eps = options.at("eps"),
                                                          .weight_decay = options.at("weight_decay")});
                                }));
  }
  return worst;
}

TEST(AdamW, FollowsPyTorchStepByStep) {
  EXPECT_LT(worst_torch_difference<double>(), 1e-14);
  EXPECT_LT(worst_torch_difference<float>(), 1e-6);
}

// An eps as large as the gradients shows whether it is scaled.
const AdamWOptions strong{.lr = 0.05, .beta1 = 0.8, .beta2 = 0.9, .eps = 0.1, .weight_decay = 0.2};

TEST(AdamW, UpdatesExpertsAsIfTheirGradientsHadBeenMaterialised) {
  Rng rng(1);
  for (FusionGranularity granularity : granularities) {
    const auto model = random_toy<double>(4, granularity, false, rng);
    AdamW<double> optimizer(model, strong);
    NaiveAdamW naive(model.experts, strong);
    for (int step = 0; step < 8; ++step) {
      random_weights(model.experts, rng);
      random_gradients(optimizer.parameters(), rng);
      naive.step(model.experts);
      optimizer.step();
      EXPECT_LT(worst_difference(model.experts, naive.p), 1e-13);
    }
  }
}

TEST(AdamW, OneSharedStateServesAllExpertsWithConstantWeights) {
  Rng rng(2);
  for (FusionGranularity granularity : granularities) {
    const auto model = random_toy<double>(4, granularity, true, rng);
    random_weights(model.experts, rng);
    model.experts.weights()[1] = 0;
    model.experts.weights()[2] *= -1;
    AdamW<double> optimizer(model, strong);
    NaiveAdamW naive(model.experts, strong);
    for (int step = 0; step < 8; ++step) {
      random_gradients(optimizer.parameters(), rng);
      naive.step(model.experts);
      optimizer.step();
      EXPECT_LT(worst_difference(model.experts, naive.p), 1e-13);
    }
  }
}

TEST(AdamW, ConstantWeightsAreDenseTrainingForAnyExperts) {
  Rng rng(3);
  for (bool shared : {true, false}) {
    const auto model = random_toy<double>(4, FusionGranularity::row, shared, rng);
    random_weights(model.experts, rng);
    const auto dense = dense_twin(model.experts);
    AdamW<double> optimizer(model, strong), dense_optimizer(dense, strong);
    for (int step = 0; step < 20; ++step) {
      random_gradients(optimizer.parameters(), rng);
      copy_gradient(model.experts, dense.experts);
      optimizer.step();
      dense_optimizer.step();
      EXPECT_LT(worst_difference(dense.experts, fused_weights(model.experts)), 1e-12);
    }
  }
}

TEST(AdamW, AnExpertWithoutWeightGetsNoStepAndNoNan) {
  Rng rng(4);
  const auto model = random_toy<float>(2, FusionGranularity::layer, false, rng);
  AdamW<float> optimizer(model, {.lr = 0.1, .weight_decay = 0});
  const std::vector<float> before(model.experts.expert(0).begin(), model.experts.expert(0).end());
  model.experts.weights()[0] = 0;
  model.experts.weights()[1] = 1;
  for (int step = 0; step < 3; ++step) {
    random_gradients(optimizer.parameters(), rng);
    optimizer.step();
  }
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(model.experts.expert(0)[i], before[i]);
  for (float value : model.experts.expert(1)) EXPECT_TRUE(std::isfinite(value));
}

TEST(AdamW, DecaysMatricesButNeitherBiasesNorPadding) {
  Rng rng(5);
  const auto model = random_toy<double>(2, FusionGranularity::layer, true, rng);
  const auto before = model;
  random_weights(model.experts, rng);
  AdamW<double> optimizer(model, {.lr = 0.5, .weight_decay = 0.1});
  for (const auto& parameter : optimizer.parameters().parameters) {
    std::fill_n(parameter.tensor.open_gradient().data, parameter.tensor.size(), 0.0);
  }
  std::fill_n(model.experts.gradient(), model.experts.row_size(), 0.0);
  optimizer.step();
  EXPECT_DOUBLE_EQ(model.weight.data()[0], 0.95 * before.weight.data()[0]);
  EXPECT_EQ(model.bias.data()[0], before.bias.data()[0]);
  for (const auto& segment : model.experts.segments()) {
    EXPECT_DOUBLE_EQ(model.experts.expert(1, segment)[0],
                     (segment.decay ? 0.95 : 1.0) * before.experts.expert(1, segment)[0]);
  }
  EXPECT_EQ(model.experts.expert(0)[static_cast<std::size_t>(model.experts.segments()[1].offset + 17)], 0.0);
}

TEST(AdamW, GroupsAndParameterOptionsSetRatesAndDecay) {
  Rng rng(6);
  auto model = random_toy<double>(2, FusionGranularity::layer, false, rng);
  model.bias.set_options({.decay = false, .lr_multiplier = 10});
  const auto before = model;
  random_weights(model.experts, rng);
  AdamW<double> optimizer(model, {.lr = 0.01,
                                  .weight_decay = 0,
                                  .groups = {{.pattern = "*.experts", .lr_multiplier = 0},
                                             {.pattern = "weig", .lr_multiplier = 2, .weight_decay = 0.5},
                                             {.pattern = "bias", .lr_multiplier = 3, .weight_decay = 0.5}}});
  random_gradients(optimizer.parameters(), rng);
  const auto sign = [](double value) { return value > 0 ? 1.0 : -1.0; };
  const double weight_sign = sign(model.weight.grad()[0]), bias_sign = sign(model.bias.grad()[0]);
  optimizer.step();  // the first step of Adam has the size of the learning rate
  EXPECT_NEAR(model.weight.data()[0], before.weight.data()[0] * (1 - 0.01) - 0.02 * weight_sign, 1e-6);
  EXPECT_NEAR(model.bias.data()[0], before.bias.data()[0] - 0.3 * bias_sign, 1e-5);
  EXPECT_EQ(model.experts.data()[0], before.experts.data()[0]);
}

TEST(AdamW, ClearsGradientsAndLeavesParametersWithoutOneAlone) {
  Rng rng(7);
  const auto model = random_toy<double>(2, FusionGranularity::layer, false, rng);
  const auto before = model;
  AdamW<double> optimizer(model);
  random_gradient<double>(model.weight, rng);
  model.experts.set_fused(true);
  optimizer.step();
  EXPECT_NE(model.weight.data()[0], before.weight.data()[0]);
  EXPECT_EQ(model.bias.data()[0], before.bias.data()[0]);
  EXPECT_EQ(model.experts.data()[0], before.experts.data()[0]);
  EXPECT_TRUE(model.experts.is_fused());
  EXPECT_FALSE(model.weight.gradient()->defined);
  random_gradients(optimizer.parameters(), rng);
  optimizer.step();
  EXPECT_FALSE(model.experts.has_gradient());
  EXPECT_FALSE(model.experts.is_fused());
}

struct CountingState : StepState<double> {
  int ended = 0, skipped = 0;
  void end_step() override { ++ended; }
  void skip_step() override { ++skipped; }
  std::span<double> values() override { return {}; }
};

struct ModelWithState {
  Parameter<double> weight{Shape{2, 2}};
  SharedState<CountingState> bank;
  static void fields(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bank", self.bank);
  }
};

TEST(AdamW, MovesStatesOnOrSkipsThem) {
  Rng rng(8);
  const ModelWithState model;
  AdamW<double> optimizer(model);
  random_gradients(optimizer.parameters(), rng);
  optimizer.skip_step();
  EXPECT_EQ(model.weight.data()[0], 0.0);
  EXPECT_FALSE(model.weight.gradient()->defined);
  EXPECT_EQ(std::pair(model.bank->ended, model.bank->skipped), std::pair(0, 1));
  random_gradients(optimizer.parameters(), rng);
  optimizer.step();
  EXPECT_NE(model.weight.data()[0], 0.0);
  EXPECT_EQ(std::pair(model.bank->ended, model.bank->skipped), std::pair(1, 1));
}

template <class Optimizer>
void copy_state(Optimizer& from, Optimizer& to) {
  std::vector<std::pair<std::string, std::vector<double>>> saved;
  from.visit_state([&](const std::string& name, auto span) {
    saved.emplace_back(name, std::vector<double>(span.begin(), span.end()));
  });
  std::size_t i = 0;
  to.visit_state([&](const std::string& name, auto span) {
    EXPECT_EQ(name, saved.at(i).first);
    ASSERT_EQ(span.size(), saved[i].second.size());
    for (std::size_t k = 0; k < span.size(); ++k) {
      span[k] = static_cast<typename decltype(span)::value_type>(saved[i].second[k]);
    }
    ++i;
  });
}

TEST(AdamW, ContinuesToTheBitFromItsVisitedState) {
  Rng rng(9);
  const auto model = random_toy<double>(3, FusionGranularity::layer, false, rng);
  random_weights(model.experts, rng);
  AdamW<double> optimizer(model);
  random_gradients(optimizer.parameters(), rng);
  optimizer.step();
  const auto copy = model;
  AdamW<double> resumed(copy);
  copy_state(optimizer, resumed);
  Rng one(10), other(10);
  random_gradients(optimizer.parameters(), one);
  random_gradients(resumed.parameters(), other);
  optimizer.step();
  resumed.step();
  EXPECT_EQ(worst_difference(model.experts,
                             {copy.experts.data(), copy.experts.data() + 3 * copy.experts.row_size()}),
            0.0);
  EXPECT_EQ(model.weight.data()[7], copy.weight.data()[7]);
}

TEST(AdamW, NamesItsStateInTheOrderOfTheFields) {
  Rng rng(11);
  const auto model = random_toy<float>(3, FusionGranularity::layer, true, rng);
  AdamW<float> optimizer(model);
  std::vector<std::string> names;
  std::size_t numbers = 0;
  optimizer.visit_state([&](const std::string& name, auto span) {
    names.push_back(name);
    numbers += span.size();
  });
  EXPECT_EQ(names, (std::vector<std::string>{"steps", "weight.m", "weight.v", "bias.m", "bias.v",
                                             "ffn.experts.m", "ffn.experts.v"}));
  EXPECT_EQ(numbers, 3 + 2 * (15 + 5 + static_cast<std::size_t>(model.experts.row_size())));
}

TEST(AdamW, ShortMomentsAreStateOfExpertsWithAStateEachAlone) {
  Rng rng(14);
  for (bool constant : {true, false}) {
    const auto model = random_toy<float>(3, FusionGranularity::layer, constant, rng);
    AdamW<float> optimizer(model, {.bf16_moments = true});
    std::vector<std::string> names;
    optimizer.visit_state([&](const std::string& name, auto span) {
      names.push_back(name);
      if (name != "ffn.experts.bf16_moments") return;
      EXPECT_EQ(span.size_bytes(), static_cast<std::size_t>(3 * model.experts.row_size()) * 4);
    });
    std::vector<std::string> expected{"steps", "weight.m", "weight.v", "bias.m", "bias.v"};
    if (!constant) expected.push_back("ffn.experts.bf16_moments");
    if (constant) expected.insert(expected.end(), {"ffn.experts.m", "ffn.experts.v"});
    EXPECT_EQ(names, expected);
  }
}

TEST(AdamW, WithShortMomentsContinuesToTheBitFromItsVisitedState) {
  Rng rng(15);
  const auto model = random_toy<float>(3, FusionGranularity::matrix, false, rng);
  random_weights(model.experts, rng);
  AdamW<float> optimizer(model, {.bf16_moments = true});
  for (int step = 0; step < 3; ++step) {
    random_gradients(optimizer.parameters(), rng);
    optimizer.step();
  }
  const auto copy = model;
  AdamW<float> resumed(copy, {.bf16_moments = true});
  copy_state(optimizer, resumed);
  Rng one(16), other(16);
  for (int step = 0; step < 3; ++step) {
    random_gradients(optimizer.parameters(), one);
    random_gradients(resumed.parameters(), other);
    optimizer.step();
    resumed.step();
  }
  for (Index k = 0; k < 3 * model.experts.row_size(); ++k) {
    ASSERT_EQ(model.experts.data()[k], copy.experts.data()[k]);
  }
}

TEST(AdamW, WithShortMomentsStaysNearToFullOnes) {
  Rng rng(17);
  const auto model = random_toy<float>(3, FusionGranularity::layer, false, rng, 33, 65), full = model;
  const auto start = model;
  AdamW<float> optimizer(model, {.lr = 1e-3, .bf16_moments = true}), full_optimizer(full, {.lr = 1e-3});
  Rng one(18), other(18);
  for (int step = 0; step < 300; ++step) {
    for (const auto* each : {&model, &full}) std::ranges::fill(each->experts.weights(), 1.0F / 3);
    random_gradients(optimizer.parameters(), one);
    random_gradients(full_optimizer.parameters(), other);
    optimizer.step();
    full_optimizer.step();
  }
  double difference = 0, way = 0;
  for (Index k = 0; k < 3 * model.experts.row_size(); ++k) {
    const auto at = [k](const auto& of) { return static_cast<double>(of.experts.data()[k]); };
    difference += std::pow(at(model) - at(full), 2);
    way += std::pow(at(full) - at(start), 2);
  }
  EXPECT_LT(std::sqrt(difference), 0.02 * std::sqrt(way));
}

TEST(AdamW, AStepAllocatesNothing) {
  Rng rng(12);
  for (bool constant : {true, false}) {
    const auto model = random_toy<float>(4, FusionGranularity::row, constant, rng, 65, 130);
    AdamW<float> optimizer(model, {.bf16_moments = true});
    random_gradients(optimizer.parameters(), rng);
    optimizer.step();
    random_gradients(optimizer.parameters(), rng);
    const long before = testing::allocation_count;
    optimizer.step();
    EXPECT_EQ(testing::allocation_count - before, 0);
  }
}

TEST(AdamW, IsTheSameToTheBitForAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  for (bool short_moments : {false, true}) {
    std::vector<float> alone;
    for (int count : {1, 2, 3}) {
      omp_set_num_threads(count);
      Rng rng(13);
      const auto model = random_toy<float>(3, FusionGranularity::matrix, false, rng, 64, 300);
      AdamW<float> optimizer(model, {.bf16_moments = short_moments});
      for (int step = 0; step < 3; ++step) {
        random_weights(model.experts, rng);
        random_gradients(optimizer.parameters(), rng);
        optimizer.step();
      }
      const std::vector<float> result(model.experts.data(),
                                      model.experts.data() + 3 * model.experts.row_size());
      if (alone.empty()) alone = result;
      EXPECT_EQ(result, alone);
    }
  }
  omp_set_num_threads(threads);
}

TEST(AdamW, RefusesOptionsOutOfRange) {
  const ModelWithState model;
  for (const AdamWOptions& options :
       {AdamWOptions{.lr = -1}, AdamWOptions{.lr = std::nan("")}, AdamWOptions{.beta1 = 1},
        AdamWOptions{.beta1 = -0.1}, AdamWOptions{.beta2 = 1.5}, AdamWOptions{.eps = 0},
        AdamWOptions{.weight_decay = -1}, AdamWOptions{.groups = {{.pattern = "nobody"}}},
        AdamWOptions{.groups = {{.pattern = "weight", .lr_multiplier = -1}}},
        AdamWOptions{.groups = {{.pattern = "weight", .weight_decay = -1}}}}) {
    EXPECT_THROW(AdamW<double>(model, options), ConfigError);
  }
  AdamW<double> optimizer(model);
  EXPECT_THROW(optimizer.set_learning_rate(-1), ConfigError);
  EXPECT_THROW(AdamW<float>{model}, ConfigError) << "the model is double: nothing would be trained";
}

TEST(AdamW, AnErrorNamesTheValueAndTheLimit) {
  try {
    AdamW<double>(ModelWithState{}, {.beta2 = 1});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[adamw] beta2 is 1: it must be in [0, 1)");
  }
}

TEST(ParameterGroup, PatternsArePartsOfNamesOrHaveStars) {
  const auto fits = [](const char* pattern, const char* name) { return ParameterGroup{pattern}.fits(name); };
  EXPECT_TRUE(fits("ffn", "blocks.0.ffn.up.weight"));
  EXPECT_FALSE(fits("attn", "blocks.0.ffn.up.weight"));
  EXPECT_TRUE(fits("blocks.*.up.*", "blocks.0.ffn.up.weight"));
  EXPECT_TRUE(fits("*weight", "weight"));
  EXPECT_FALSE(fits("*.weight", "weight"));
  EXPECT_FALSE(fits("blocks.*.up", "blocks.0.ffn.up.weight"));
}

}  // namespace
}  // namespace exfusion
