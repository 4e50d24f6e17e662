#include <limits>

#include <gtest/gtest.h>

#include <exfusion/nn/static_fusion.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

std::vector<double> weights_of(StaticFusionOptions options, Index experts) {
  StaticFusion<double> rule(std::move(options));
  Rng rng(1);
  rule.initialise({.experts = experts, .d_model = 4}, rng);
  const auto a = rule.export_weights();
  EXPECT_TRUE(testing::identical(a, rule.training_weights({}, {})));
  EXPECT_EQ(a.shape(), (Shape{1, experts}));
  return {a.values().begin(), a.values().end()};
}

TEST(StaticFusion, IsUniformUnlessWeightsAreGiven) {
  EXPECT_EQ(weights_of({}, 4), (std::vector{0.25, 0.25, 0.25, 0.25}));
  EXPECT_EQ(weights_of({}, 1), (std::vector{1.0}));
  EXPECT_EQ(weights_of({{0.5, 0.0, 0.5}}, 3), (std::vector{0.5, 0.0, 0.5}));
}

TEST(StaticFusion, NamesTheGivenWeightThatIsWrong) {
  const auto message = [](std::vector<double> weights, Index experts) {
    return testing::message_of<ConfigError>([&] { weights_of({std::move(weights)}, experts); });
  };
  EXPECT_EQ(message({0.5, 0.5}, 3), "[static_fusion] 2 weights for 3 experts: give one each");
  EXPECT_EQ(message({1.25, -0.25}, 2),
            "[static_fusion] weight 1 is -0.25: it must be finite and not negative");
  EXPECT_NE(message({std::numeric_limits<double>::quiet_NaN(), 1.0}, 2).find("weight 0 is nan"),
            std::string::npos);
  EXPECT_NE(message({0.5, std::numeric_limits<double>::infinity()}, 2).find("weight 1 is inf"),
            std::string::npos);
  EXPECT_EQ(message({0.5, 0.4}, 2), "[static_fusion] the weights sum to 0.9: they must sum to 1");
}

TEST(StaticFusion, HasNothingToTrain) {
  StaticFusion<float> rule;
  Rng rng(1);
  rule.initialise({.experts = 3}, rng);
  EXPECT_TRUE(collect_parameters<float>(rule).parameters.empty());
  EXPECT_FALSE(rule.training_weights({}, {}).requires_grad());
}

}  // namespace
}  // namespace exfusion
