#include <limits>

#include <gtest/gtest.h>

#include <exfusion/ops/fuse.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "fusion_support.hpp"

namespace exfusion {
namespace {

/// A slab of one matrix [size, 3] and its bias, and another matrix.
template <Scalar T>
ExpertSlab<T> random_slab(Index experts, Index size, FusionGranularity granularity, Rng& rng) {
  ExpertSlab<T> slab(experts,
                     {{"up.weight", {size, 3}}, {"up.bias", {size}, false}, {"down.weight", {2, size}}},
                     granularity, false);
  for (Index i = 0; i < experts; ++i) {
    for (const SlabSegment& segment : slab.segments()) rng.fill_normal(slab.expert(i, segment), 0.0, 1.0);
  }
  return slab;
}

/// Uses every element of W: the segments' sums of squares.
struct SquaresNode {
  static constexpr std::string_view name = "squares";
  Tensor<double> x, y;
  void backward() const {
    const GradientTarget<double> dx = x.open_gradient();
    for (Index i = 0; i < x.size(); ++i) {
      dx.data[i] = 2 * x.data()[i] * y.grad()[0] + (dx.accumulate ? dx.data[i] : 0.0);
    }
  }
};

Tensor<double> squares(const Context<double>& ctx, const ExpertSlab<double>& slab) {
  Tensor<double> y;
  for (std::size_t i = 0; i < slab.segments().size(); ++i) {
    const Tensor<double> x = slab.fused(i);
    const Tensor<double> part = ctx.output(Shape{}, x);
    *part.data() = std::inner_product(x.values().begin(), x.values().end(), x.data(), 0.0);
    ctx.record(part, SquaresNode{x, part});
    if (i > 0) ctx.tape->add_loss(part);
    if (i == 0) y = part;
  }
  return y;
}

TEST(Fuse, GradientOfExpertsAndWeightsMatchesDifferencesForEveryGranularity) {
  Rng rng(1);
  for (Index size : {1, 3, 7, 17}) {
    for (auto granularity : {FusionGranularity::layer, FusionGranularity::matrix, FusionGranularity::row}) {
      const auto slab = random_slab<double>(3, size, granularity, rng);
      const auto a = Parameter<double>::normal({slab.groups(), 3}, 1.0, rng);
      std::vector<NamedSlab<double>> handles;
      handles.push_back({"slab", slab.share()});
      const auto result = testing::grad_check(
          [&](const Context<double>& ctx) {
            fuse(ctx, slab, a);
            return squares(ctx, slab);
          },
          {a}, {}, handles);
      EXPECT_TRUE(result) << result;
    }
  }
}

TEST(Fuse, RelativeGradientDiffersFromTheExactOneByOneNumberPerGroup) {
  Rng rng(2);
  const auto slab = random_slab<double>(4, 7, FusionGranularity::row, rng);
  const auto a = Parameter<double>::normal({slab.groups(), 4}, 1.0, rng);
  std::vector<std::vector<double>> gradients;
  for (FusionGradient form : {FusionGradient::exact, FusionGradient::relative}) {
    Tape<double> tape;
    const Context<double> ctx{.tape = &tape, .training = true};
    fuse(ctx, slab, a, form);
    tape.backward(squares(ctx, slab));
    gradients.emplace_back(a.grad().begin(), a.grad().end());
    a.gradient()->clear();
    slab.clear_gradient();
  }
  for (std::size_t i = 0; i < gradients[0].size(); ++i) {
    const std::size_t first = i / 4 * 4;
    const double shift = gradients[0][first] - gradients[1][first];
    EXPECT_GT(std::abs(shift), 1e-3);
    EXPECT_NEAR(gradients[0][i] - gradients[1][i], shift, 1e-12);
  }
}

TEST(Fuse, RelativeGradientOfEqualExpertsIsExactlyZero) {
  Rng rng(8);
  const auto slab =
      random_slab<double>(3, 7, FusionGranularity::row, rng);  // of three, W has rounding errors
  for (Index i = 1; i < 3; ++i) std::ranges::copy(slab.expert(0), slab.expert(i).begin());
  const auto a = Parameter<double>::constant({slab.groups(), 3}, 1.0 / 3);
  Tape<double> tape;
  const Context<double> ctx{.tape = &tape, .training = true};
  fuse(ctx, slab, a, FusionGradient::relative);
  tape.backward(squares(ctx, slab));
  for (double gradient : a.grad()) EXPECT_EQ(gradient, 0.0);
}

TEST(Fuse, ComputesWAgainOnlyWhenExpertsOrWeightsHaveChanged) {
  Rng rng(3);
  const auto slab = random_slab<float>(3, 7, FusionGranularity::layer, rng);
  const auto a = Parameter<float>::normal({1, 3}, 1.0, rng);
  fuse(Context<float>{}, slab, a);
  const float kept = slab.fused()[0];
  slab.expert(0)[0] += 1;
  fuse(Context<float>{}, slab, a);
  EXPECT_EQ(slab.fused()[0], kept) << "fused again although nobody said that the experts changed";
  slab.set_fused(false);
  fuse(Context<float>{}, slab, a);
  EXPECT_NEAR(slab.fused()[0], kept + a.data()[0], 1e-6);
  a.data()[0] += 1;
  fuse(Context<float>{}, slab, a);
  EXPECT_NEAR(slab.fused()[0], kept + a.data()[0] - 1 + slab.expert(0)[0], 1e-5);
}

TEST(Fuse, EvaluatesInMemoryOfItsOwnWhileThePassOnATapeIsNotOver) {
  Rng rng(4);
  const auto slab = random_slab<double>(3, 7, FusionGranularity::layer, rng);
  const auto a = Parameter<double>::normal({1, 3}, 1.0, rng);
  const auto other = Parameter<double>::normal({1, 3}, 1.0, rng);
  Tape<double> tape;
  const Context<double> training{.tape = &tape, .training = true};
  fuse(training, slab, a);
  const auto loss = squares(training, slab);
  const std::vector<double> w(slab.fused(), slab.fused() + slab.row_size());
  EXPECT_NE(fuse(Context<double>{}, slab, other).data(), slab.fused());
  EXPECT_EQ(fuse(Context<double>{}, slab, a).data(), slab.fused());
  EXPECT_THROW(fuse(training, slab, other), ConfigError);
  tape.backward(loss);
  tape.clear();
  EXPECT_NE(fuse(Context<double>{}, slab, other).data(), slab.fused()) << "gradients are pending";
  testing::expect_near<double>({slab.fused(), w.size()}, w, 0.0, "W");
  EXPECT_TRUE(std::ranges::equal(slab.weights(), a.values()));

  slab.clear_gradient();
  EXPECT_EQ(fuse(Context<double>{}, slab, other).data(), slab.fused());
  EXPECT_TRUE(std::ranges::equal(slab.weights(), a.values())) << "evaluation must not touch them";
}

TEST(Fuse, RefusesOtherWeightsWhileGradientsArePending) {
  Rng rng(5);
  const auto slab = random_slab<double>(2, 3, FusionGranularity::layer, rng);
  const auto a = Parameter<double>::normal({1, 2}, 1.0, rng);
  const auto other = Parameter<double>::normal({1, 2}, 1.0, rng);
  Tape<double> tape;
  const Context<double> training{.tape = &tape, .training = true};
  fuse(training, slab, a);
  tape.backward(squares(training, slab));
  tape.clear();
  const auto message = testing::message_of<ConfigError>([&] { fuse(training, slab, other); });
  EXPECT_NE(message.find("straight_through"), std::string::npos) << message;
  slab.clear_gradient();
  EXPECT_NO_THROW(fuse(training, slab, other));
}

TEST(Fuse, NamesShapesThatDoNotFitAndWeightsThatAreNotFinite) {
  Rng rng(6);
  const auto slab = random_slab<float>(3, 2, FusionGranularity::matrix, rng);
  const Context<float> ctx;
  EXPECT_EQ(testing::message_of<ShapeError>([&] {
              fuse(ctx, slab, Tensor<float>::zeros({1, 3}));
            }),
            "[fuse] the fusion weights are [1, 3]: they must be [groups, E] = [2, 3]");
  EXPECT_THROW(fuse(ctx, slab, Tensor<float>::zeros({6})), ShapeError);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto a = Tensor<float>::zeros({2, 3});
    a.data()[4] = bad;
    const auto message = testing::message_of<Error>([&] { fuse(ctx, slab, a); });
    EXPECT_NE(message.find("a[1, 1]"), std::string::npos) << message;
  }
}

TEST(Fuse, AForgottenTapeReleasesItsHoldOnTheSlab) {
  Rng rng(7);
  const auto slab = random_slab<double>(2, 3, FusionGranularity::layer, rng);
  const auto a = Parameter<double>::normal({1, 2}, 1.0, rng);
  {
    Tape<double> tape;
    fuse(Context<double>{.tape = &tape}, slab, a);
    EXPECT_EQ(slab.uses(), 1);
    EXPECT_EQ(ExpertSlab<double>(slab).uses(), 0) << "a copy is in nobody's use";
  }
  EXPECT_EQ(slab.uses(), 0);
}

}  // namespace
}  // namespace exfusion
