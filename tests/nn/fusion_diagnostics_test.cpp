#include <cmath>
#include <sstream>

#include <gtest/gtest.h>

#include <exfusion/nn/fusion_diagnostics.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

TEST(FusionDiagnostics, EntropyIsLogEWhenUniformAndZeroWhenOneHot) {
  EXPECT_NEAR(fusion_entropy({0.25, 0.25, 0.25, 0.25}, 1), std::log(4.0), 1e-15);
  EXPECT_EQ(fusion_entropy({0, 1, 0}, 1), 0);
  EXPECT_NEAR(fusion_entropy({0.5, 0.5, 0, 1}, 2), std::log(2.0) / 2, 1e-15);
  EXPECT_NEAR(fusion_entropy({-2, 2}, 1), std::log(2.0), 1e-15);
}

TEST(FusionDiagnostics, SpreadIsTheDistanceFromWRelativeToW) {
  Rng rng(1);
  for (auto granularity : {FusionGranularity::layer, FusionGranularity::row}) {
    const auto model =
        upcycle(testing::tiny_model<double>(rng), LearnedFusion<double>({.granularity = granularity}),
                {.experts = 3, .init = ZeroSum{0.5}}, rng);
    const auto layers = FusionMonitor<double>().measure(model);
    ASSERT_EQ(layers.size(), 2U);
    EXPECT_EQ(layers[1].name, "ffns.1");
    const ExpertSlab<double>& slab = model.ffns[1].experts;
    const auto w = model.ffns[1].fused_segments();
    for (Index i = 0; i < 3; ++i) {
      double distance = 0, norm = 0;
      for (std::size_t s = 0; s < w.size(); ++s) {
        const auto values = slab.expert(i, slab.segments()[s]);
        for (std::size_t j = 0; j < values.size(); ++j) {
          distance += std::pow(values[j] - w[s].values()[j], 2);
          norm += std::pow(w[s].values()[j], 2);
        }
      }
      EXPECT_NEAR(layers[1].spread[static_cast<std::size_t>(i)], std::sqrt(distance / norm), 1e-12);
    }
  }
}

TEST(FusionDiagnostics, CopiesHaveNoSpread) {
  Rng rng(2);
  const auto model = upcycle(testing::tiny_model<float>(rng), {.experts = 4}, rng);
  for (const auto& layer : FusionMonitor<float>().measure(model)) {
    for (double spread : layer.spread) EXPECT_EQ(spread, 0);
    EXPECT_NEAR(layer.entropy, std::log(4.0), 1e-7);
  }
}

TEST(FusionDiagnostics, MovementIsTheChangeOfAPerStep) {
  Rng rng(3);
  const auto model = upcycle(testing::tiny_model<double>(rng, 1),
                             LearnedFusion<double>({.form = LearnedForm::free}), {.experts = 2}, rng);
  FusionMonitor<double> monitor;
  EXPECT_EQ(monitor.measure(model)[0].movement, 0);
  model.ffns[0].rule.learned.data()[0] = 0.9;
  model.ffns[0].rule.learned.data()[1] = 0.3;
  const auto layer = monitor.measure(model, 10)[0];
  EXPECT_EQ(layer.weights, (std::vector{0.9, 0.3}));
  EXPECT_NEAR(layer.movement, 0.06, 1e-15);
  EXPECT_EQ(monitor.measure(model, 10)[0].movement, 0);
  EXPECT_THROW(monitor.measure(model, 0), ConfigError);
}

TEST(FusionDiagnostics, PrintsOneLine) {
  std::ostringstream out;
  out << FusionDiagnostics{.name = "blocks.0.ffn",
                           .groups = 1,
                           .weights = {0.75, 0.25},
                           .spread = {0.5, 1.5},
                           .entropy = 0.5,
                           .movement = 0.125};
  EXPECT_EQ(out.str(), "blocks.0.ffn: entropy 0.5, movement 0.125, spread 0.5 1.5, a 0.75 0.25");
}

}  // namespace
}  // namespace exfusion
