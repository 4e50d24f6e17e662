#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/optim/sgd.hpp>

#include "allocation_counter.hpp"
#include "optim/toy_model.hpp"

namespace exfusion {
namespace {

using testing::copy_gradient;
using testing::dense_twin;
using testing::fused_weights;
using testing::granularities;
using testing::random_gradients;
using testing::random_toy;
using testing::random_weights;
using testing::worst_difference;

template <Scalar T>
double worst_torch_difference() {
  double worst = 0;
  for (const auto& fixture : testing::torch_cases()) {
    if (!fixture.at("name").get<std::string>().starts_with("sgd")) continue;
    worst = std::max(worst, testing::worst_difference_to_torch<T>(
                                fixture, [](const auto& model, const nlohmann::json& options) {
                                  return Sgd<T>(model, {.momentum = options.at("momentum"),
                                                        .nesterov = options.at("nesterov"),
                                                        .weight_decay = options.at("weight_decay")});
                                }));
  }
  return worst;
}

TEST(Sgd, FollowsPyTorchStepByStep) {
  EXPECT_LT(worst_torch_difference<double>(), 1e-14);
  EXPECT_LT(worst_torch_difference<float>(), 1e-6);
}

/// Momentum, Nesterov and L2 in all combinations that exist.
std::vector<SgdOptions> all_kinds() {
  std::vector<SgdOptions> kinds;
  for (double decay : {0.0, 0.3}) {
    kinds.push_back({.lr = 0.1, .weight_decay = decay});
    kinds.push_back({.lr = 0.1, .momentum = 0.8, .weight_decay = decay});
    kinds.push_back({.lr = 0.1, .momentum = 0.8, .nesterov = true, .weight_decay = decay});
  }
  return kinds;
}

/// SGD on every expert's own gradient a_i G, written out, without any correction.
struct NaiveExperts {
  SgdOptions options;
  std::vector<double> p, momentum;

  NaiveExperts(const ExpertSlab<double>& slab, SgdOptions options_)
      : options(std::move(options_)),
        p(slab.data(), slab.data() + slab.experts() * slab.row_size()),
        momentum(p.size(), 0.0) {}

  void step(const ExpertSlab<double>& slab) {
    for (const FusionSpan& span : slab.spans()) {
      for (Index i = 0; i < slab.experts(); ++i) {
        const double a = slab.weights()[static_cast<std::size_t>(span.group * slab.experts() + i)];
        for (Index j = span.begin; j < span.begin + span.size; ++j) {
          const auto k = static_cast<std::size_t>(i * slab.row_size() + j);
          const double gradient = a * slab.gradient()[j] + (span.decay ? options.weight_decay * p[k] : 0.0);
          momentum[k] = options.momentum * momentum[k] + gradient;
          p[k] -= options.lr * (options.nesterov ? gradient + options.momentum * momentum[k] : momentum[k]);
        }
      }
    }
  }
};

TEST(Sgd, UpdatesExpertsAsIfTheirGradientsHadBeenMaterialised) {
  Rng rng(1);
  for (SgdOptions options : all_kinds()) {
    options.fusion_lr_correction = false;
    for (FusionGranularity granularity : granularities) {
      const auto model = random_toy<double>(4, granularity, false, rng);
      Sgd<double> optimizer(model, options);
      NaiveExperts naive(model.experts, options);
      for (int step = 0; step < 6; ++step) {
        random_weights(model.experts, rng);
        random_gradients(optimizer.parameters(), rng);
        naive.step(model.experts);
        optimizer.step();
        EXPECT_LT(worst_difference(model.experts, naive.p), 1e-13);
      }
    }
  }
}

TEST(Sgd, SharedMomentumIsExactForConstantWeightsOfAnySign) {
  Rng rng(2);
  for (SgdOptions options : all_kinds()) {
    options.fusion_lr_correction = false;
    const auto model = random_toy<double>(4, FusionGranularity::row, true, rng);
    random_weights(model.experts, rng);
    model.experts.weights()[1] = 0;
    model.experts.weights()[2] *= -1;
    Sgd<double> optimizer(model, options);
    NaiveExperts naive(model.experts, options);
    for (int step = 0; step < 6; ++step) {
      random_gradients(optimizer.parameters(), rng);
      naive.step(model.experts);
      optimizer.step();
      EXPECT_LT(worst_difference(model.experts, naive.p), 1e-13);
    }
  }
}

TEST(Sgd, CorrectedConstantWeightsAreDenseTrainingForAnyExperts) {
  Rng rng(3);
  for (const SgdOptions& options : all_kinds()) {
    for (FusionGranularity granularity : granularities) {
      const auto model = random_toy<double>(4, granularity, true, rng);
      random_weights(model.experts, rng);
      const auto dense = dense_twin(model.experts);
      Sgd<double> optimizer(model, options), dense_optimizer(dense, options);
      for (int step = 0; step < 12; ++step) {
        random_gradients(optimizer.parameters(), rng);
        copy_gradient(model.experts, dense.experts);
        optimizer.step();
        dense_optimizer.step();
        EXPECT_LT(worst_difference(dense.experts, fused_weights(model.experts)), 1e-12);
      }
    }
  }
}

TEST(Sgd, UncorrectedUniformWeightsTrainAtTheRateDividedByTheExperts) {
  Rng rng(4);
  for (SgdOptions options : all_kinds()) {
    options.fusion_lr_correction = false;
    const auto model = random_toy<double>(4, FusionGranularity::layer, true, rng);
    std::ranges::fill(model.experts.weights(), 0.25);
    const auto dense = dense_twin(model.experts);
    SgdOptions slower = options;
    slower.lr /= 4;
    slower.weight_decay *= 4;
    Sgd<double> optimizer(model, options), dense_optimizer(dense, slower);
    for (int step = 0; step < 12; ++step) {
      random_gradients(optimizer.parameters(), rng);
      copy_gradient(model.experts, dense.experts);
      optimizer.step();
      dense_optimizer.step();
      EXPECT_LT(worst_difference(dense.experts, fused_weights(model.experts)), 1e-12);
    }
  }
}

TEST(Sgd, ExpertsWithoutAnyWeightStandStill) {
  Rng rng(5);
  const auto model = random_toy<double>(2, FusionGranularity::layer, false, rng);
  const std::vector<double> before(model.experts.data(), model.experts.data() + 2 * model.experts.row_size());
  std::ranges::fill(model.experts.weights(), 0.0);
  Sgd<double> optimizer(model, {.momentum = 0.9});
  random_gradients(optimizer.parameters(), rng);
  optimizer.step();
  EXPECT_EQ(worst_difference(model.experts, before), 0.0);
}

std::vector<std::pair<std::string, std::size_t>> state_of(Sgd<float>& optimizer) {
  std::vector<std::pair<std::string, std::size_t>> state;
  optimizer.visit_state([&](const std::string& name, auto span) { state.emplace_back(name, span.size()); });
  return state;
}

TEST(Sgd, KeepsOneMomentumForConstantWeightsUnlessL2MixesTheExpertsIn) {
  Rng rng(6);
  const auto constant = random_toy<float>(3, FusionGranularity::layer, true, rng);
  const auto learned = random_toy<float>(3, FusionGranularity::layer, false, rng);
  const auto row = static_cast<std::size_t>(constant.experts.row_size());
  using State = std::vector<std::pair<std::string, std::size_t>>;
  const auto expected = [](std::size_t experts) {
    return State{{"weight.momentum", 15}, {"bias.momentum", 5}, {"ffn.experts.momentum", experts}};
  };
  Sgd<float> shared(constant, {.momentum = 0.9}), mixed(constant, {.momentum = 0.9, .weight_decay = 0.1}),
      own(learned, {.momentum = 0.9}), none(learned);
  EXPECT_EQ(state_of(shared), expected(row));
  EXPECT_EQ(state_of(mixed), expected(3 * row));
  EXPECT_EQ(state_of(own), expected(3 * row));
  EXPECT_EQ(state_of(none), State{});
}

TEST(Sgd, AStepAllocatesNothingAndIsTheSameToTheBitForAnyNumberOfThreads) {
  const int threads = omp_get_max_threads();
  std::vector<float> alone;
  for (int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    Rng rng(7);
    const auto model = random_toy<float>(3, FusionGranularity::matrix, false, rng, 64, 300);
    Sgd<float> optimizer(model, {.momentum = 0.9, .nesterov = true, .weight_decay = 0.1});
    for (int step = 0; step < 3; ++step) {
      random_weights(model.experts, rng);
      random_gradients(optimizer.parameters(), rng);
      const long before = testing::allocation_count;
      optimizer.step();
      EXPECT_EQ(testing::allocation_count - before, 0);
    }
    const std::vector<float> result(model.experts.data(),
                                    model.experts.data() + 3 * model.experts.row_size());
    if (alone.empty()) alone = result;
    EXPECT_EQ(result, alone);
  }
  omp_set_num_threads(threads);
}

TEST(Sgd, RefusesOptionsOutOfRange) {
  Rng rng(8);
  const auto model = random_toy<double>(2, FusionGranularity::layer, false, rng);
  for (const SgdOptions& options :
       {SgdOptions{.lr = -1}, SgdOptions{.momentum = 1}, SgdOptions{.momentum = -0.5},
        SgdOptions{.nesterov = true}, SgdOptions{.weight_decay = -1},
        SgdOptions{.groups = {{.pattern = "nobody"}}}}) {
    EXPECT_THROW(Sgd<double>(model, options), ConfigError);
  }
}

}  // namespace
}  // namespace exfusion
