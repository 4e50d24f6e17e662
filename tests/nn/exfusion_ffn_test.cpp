#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/nn/exfusion_ffn.hpp>
#include <exfusion/testing/grad_check.hpp>

#include "allocation_counter.hpp"
#include "fusion_support.hpp"

namespace exfusion {
namespace {

static_assert(FusionRule<StaticFusion<float>, float>);
static_assert(FusionRule<LearnedFusion<double>, double>);
static_assert(FusionRule<MemoryBankFusion<float>, float>);
static_assert(!FusionRule<FeedForward<float>, float>);
static_assert(Ffn<ExFusionFFN<float, LearnedFusion<float>>, float>);

constexpr std::array activations{Activation::gelu_tanh, Activation::gelu_erf, Activation::swiglu};
constexpr std::array granularities{FusionGranularity::layer, FusionGranularity::matrix,
                                   FusionGranularity::row};

template <Scalar T>
FeedForward<T> random_ffn(Index d_model, Activation activation, Rng& rng) {
  FeedForward<T> ffn({d_model, 2 * d_model + 1, activation, 0.5, 0.5}, rng);
  for (const auto& parameter : collect_parameters<T>(ffn).parameters) {
    rng.fill_normal(parameter.tensor.values(), 0.1, 0.5);
  }
  return ffn;
}

/// Experts that differ, with rule parameters that are not at their start.
template <Scalar T, class Rule>
ExFusionFFN<T, Rule> random_fused(const FeedForward<T>& dense, const Rule& rule, Rng& rng, Index experts = 3,
                                  bool causal = true) {
  auto fused = upcycle_feed_forward<T, Rule>(dense, rule, causal, {experts, ZeroSum{1.0}}, rng);
  for (const auto& parameter : collect_parameters<T>(fused).parameters) {
    for (T& value : parameter.tensor.values()) value += static_cast<T>(0.5 * rng.normal());
  }
  return fused;
}

/// Calls `check(rule, causal)` for every rule and option that changes how a depends on parameters.
template <Scalar T, class Check>
void for_every_rule(const Check& check) {
  check(StaticFusion<T>({.weights = {0.5, 0.3, 0.2}}), true);
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    for (FusionGranularity granularity : granularities) {
      check(LearnedFusion<T>({.form = form, .granularity = granularity}), true);
    }
  }
  check(MemoryBankFusion<T>({.value = BankValue::routed}), false);
  check(testing::GatedRule<T>{}, true);
}

TEST(ExFusionFFN, GradientMatchesDifferencesForEveryRuleActivationAndOddSizes) {
  Rng rng(1);
  for (Activation activation : activations) {
    for (Index size : {1, 3, 7, 17}) {
      const auto dense = random_ffn<double>(size, activation, rng);
      const auto x = Parameter<double>::normal({1, 2, size}, 1.0, rng);
      for_every_rule<double>([&](const auto& rule, bool causal) {
        const auto fused = random_fused(dense, rule, rng, 3, causal);
        const auto result =
            testing::grad_check([&](const Context<double>& ctx) { return fused(ctx, x); }, fused, {x});
        EXPECT_TRUE(result) << result << ", size " << size;
      });
    }
  }
}

/// The straight-through bank at one moment, as an ordinary differentiable rule: a = b + softmax(z) - c with c
/// the softmax at that moment as a constant.
struct FrozenStraightThrough {
  static constexpr bool constant_weights = false;
  MemoryBankFusion<double> routed;
  Tensor<double> shift;  ///< b - c

  struct AddNode {
    static constexpr std::string_view name = "add_constant";
    Tensor<double> x, y;
    void backward() const {
      const GradientTarget<double> dx = x.open_gradient();
      for (Index i = 0; i < x.size(); ++i) {
        const double dy = y.grad()[static_cast<std::size_t>(i)];
        dx.data[i] = dx.accumulate ? dx.data[i] + dy : dy;
      }
    }
  };

  static void fields(auto& self, auto&& visit) { visit("routed", self.routed); }
  FusionGranularity granularity() const { return FusionGranularity::layer; }
  void initialise(const FusionSite&, Rng&) {}
  Tensor<double> training_weights(const Context<double>& ctx, const Tensor<double>& x) const {
    const Tensor<double> a = routed.training_weights(ctx, x);
    const Tensor<double> y = ctx.output(a.shape(), a);
    for (Index i = 0; i < a.size(); ++i) y.data()[i] = a.data()[i] + shift.data()[i];
    ctx.record(y, AddNode{a, y});
    return y;
  }
  Tensor<double> export_weights() const { return routed.export_weights(); }
};

TEST(ExFusionFFN, StraightThroughGradientIsThatOfTheShiftedRouter) {
  Rng rng(2);
  for (Index size : {1, 3, 7, 17}) {
    const auto dense = random_ffn<double>(size, Activation::gelu_tanh, rng);
    const auto x = Parameter<double>::normal({2, 3, size}, 1.0, rng);
    const auto bank = random_fused(dense, MemoryBankFusion<double>{}, rng);
    bank.rule.bank->observe(Tensor<double>::from({1, 3}, {0.7, 0.1, 0.2}));
    bank.rule.bank->end_step();
    FrozenStraightThrough frozen{bank.rule, Tensor<double>::empty({1, 3})};
    frozen.routed.options.value = BankValue::routed;
    const auto c = frozen.routed.training_weights({}, x);
    for (Index i = 0; i < 3; ++i) {
      frozen.shift.data()[i] = bank.rule.export_weights().data()[i] - c.data()[i];
    }
    const ExFusionFFN<double, FrozenStraightThrough> reference{bank.experts, frozen, bank.activation};
    const auto result =
        testing::grad_check([&](const Context<double>& ctx) { return reference(ctx, x); }, reference, {x});
    EXPECT_TRUE(result) << result;

    Tape<double> tape;
    testing::pass<double>(reference, x, tape);
    const std::vector<double> dx(x.grad().begin(), x.grad().end());
    x.gradient()->clear();
    testing::pass<double>(bank, x, tape);
    testing::expect_near<double>(x.grad(), dx, 1e-12, "dx");
    const auto got = collect_parameters<double>(bank).parameters;
    const auto want = collect_parameters<double>(reference).parameters;
    for (std::size_t i = 0; i < want.size(); ++i) {
      testing::expect_near<double>(got[i].tensor.grad(), want[i].tensor.grad(), 1e-12, got[i].name);
    }
    x.gradient()->clear();
  }
}

/// The definition, with every expert's gradient materialised: W = sum_i a_i W_i of E separate dense networks.
template <Scalar T>
struct NaiveFused {
  std::vector<FeedForward<T>> experts;
  Tensor<T> a;  ///< [E], a parameter.

  struct SumNode {
    static constexpr std::string_view name = "naive_sum";
    const NaiveFused* self;
    std::size_t parameter;
    Tensor<T> fused;

    void backward() const {
      const GradientTarget<T> da = self->a.open_gradient();
      if (!da.accumulate) std::fill_n(da.data, self->a.size(), T{0});
      for (std::size_t i = 0; i < self->experts.size(); ++i) {
        const Tensor<T> expert = collect_parameters<T>(self->experts[i]).parameters[parameter].tensor;
        const GradientTarget<T> target = expert.open_gradient();
        double product = 0;
        for (Index j = 0; j < expert.size(); ++j) {
          const T g = fused.grad()[static_cast<std::size_t>(j)];
          target.data[j] = self->a.data()[i] * g + (target.accumulate ? target.data[j] : T{0});
          product += double{g} * expert.data()[j];
        }
        da.data[i] += static_cast<T>(product);
      }
    }
  };

  Tensor<T> sum(const Context<T>& ctx, std::size_t parameter) const {
    Tensor<T> result;
    for (std::size_t i = 0; i < experts.size(); ++i) {
      const Tensor<T> expert = collect_parameters<T>(experts[i]).parameters[parameter].tensor;
      if (i == 0) {
        result = ctx.output(expert.shape(), a);
        std::ranges::fill(result.values(), T{0});
      }
      for (Index j = 0; j < expert.size(); ++j) result.data()[j] += a.data()[i] * expert.data()[j];
    }
    ctx.record(result, SumNode{this, parameter, result});
    return result;
  }

  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    FeedForwardWeights<T> weights;
    weights.up_weight = sum(ctx, 0);
    weights.up_bias = sum(ctx, 1);
    weights.down_weight = sum(ctx, 2);
    weights.down_bias = sum(ctx, 3);
    return feed_forward(ctx, x, weights, Activation::gelu_tanh);
  }
};

template <Scalar T>
void compare_with_materialised_gradients(double tolerance) {
  Rng rng(3);
  for (Index experts : {1, 3, 4}) {
    const auto x = Parameter<T>::normal({2, 5, 7}, 1.0, rng);
    const auto fused = random_fused(random_ffn<T>(7, Activation::gelu_tanh, rng),
                                    LearnedFusion<T>({.form = LearnedForm::free}), rng, experts);
    NaiveFused<T> naive{{}, Parameter<T>({experts})};
    std::ranges::copy(fused.rule.learned.values(), naive.a.data());
    for (Index i = 0; i < experts; ++i) {
      naive.experts.push_back(random_ffn<T>(7, Activation::gelu_tanh, rng));
      const auto parameters = collect_parameters<T>(naive.experts.back()).parameters;
      for (std::size_t s = 0; s < parameters.size(); ++s) {
        const auto values = fused.experts.expert(i, fused.experts.segments()[s]);
        std::ranges::copy(values, parameters[s].tensor.data());
      }
    }
    Tape<T> tape;
    const T loss = testing::pass<T>(fused, x, tape);
    const std::vector<T> dx(x.grad().begin(), x.grad().end());
    x.gradient()->clear();
    EXPECT_NEAR(loss, testing::pass<T>(naive, x, tape), tolerance);
    testing::expect_near<T>(dx, x.grad(), tolerance, "dx");
    testing::expect_near<T>(fused.rule.learned.grad(), naive.a.grad(), tolerance, "da");
    for (Index i = 0; i < experts; ++i) {
      const auto parameters = collect_parameters<T>(naive.experts[static_cast<std::size_t>(i)]).parameters;
      for (std::size_t s = 0; s < parameters.size(); ++s) {
        const SlabSegment& segment = fused.experts.segments()[s];
        std::vector<T> gradient(fused.experts.gradient() + segment.offset,
                                fused.experts.gradient() + segment.offset + segment.shape.size());
        for (T& g : gradient) g *= fused.experts.weights()[static_cast<std::size_t>(i)];
        testing::expect_near<T>(gradient, parameters[s].tensor.grad(), tolerance, segment.name);
      }
    }
  }
}

TEST(ExFusionFFN, ExpertGradientsAreThoseOfTheMaterialisedForm) {
  compare_with_materialised_gradients<double>(1e-12);
  compare_with_materialised_gradients<float>(1e-4);
}

TEST(ExFusionFFN, OneExpertIsTheDenseNetworkToTheBitUnderEveryRule) {
  Rng rng(4);
  const auto dense = random_ffn<float>(7, Activation::gelu_erf, rng);
  const auto x = Parameter<float>::normal({2, 3, 7}, 1.0, rng);
  const auto expected = dense({}, x);
  const auto check = [&](const auto& rule) {
    const auto fused = upcycle_feed_forward(dense, rule, true, {1, ZeroSum{0.5}}, rng);
    EXPECT_TRUE(testing::identical(fused({}, x), expected));
    Tape<float> tape;
    EXPECT_TRUE(testing::identical(fused({.tape = &tape, .training = true}, x), expected));
  };
  check(StaticFusion<float>{});
  check(LearnedFusion<float>{});
  check(LearnedFusion<float>({.form = LearnedForm::free, .granularity = FusionGranularity::row}));
  check(MemoryBankFusion<float>{});
}

TEST(ExFusionFFN, EvaluationUsesTheExportWeightsAndTrainingTheTrainingWeights) {
  Rng rng(5);
  const auto dense = random_ffn<double>(3, Activation::gelu_tanh, rng);
  const auto x = Parameter<double>::normal({2, 3, 3}, 1.0, rng);
  const auto fused = random_fused(dense, MemoryBankFusion<double>{}, rng, 3, false);
  const Context<double> training{.training = true};
  const auto routed = fused(training, x);
  EXPECT_EQ(fused.rule.bank->steps(), 0);
  const auto evaluated = fused({}, x);
  EXPECT_FALSE(testing::identical(routed, evaluated));
  testing::expect_near(evaluated, dense({}, x), 1e-13, "zero-sum experts under the bank's first weights");
}

TEST(ExFusionFFN, MicroBatchesAddUpToTheWholeBatch) {
  Rng rng(6);
  const auto dense = random_ffn<double>(5, Activation::gelu_tanh, rng);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  for (LearnedForm form : {LearnedForm::softmax, LearnedForm::free}) {
    const auto fused =
        random_fused(dense, LearnedFusion<double>({form, FusionGranularity::matrix}), rng, 3, false);
    Tape<double> tape;
    testing::pass<double>(fused, x, tape);
    const std::vector<double> logits(fused.rule.learned.grad().begin(), fused.rule.learned.grad().end());
    const std::vector<double> g(fused.experts.gradient(),
                                fused.experts.gradient() + fused.experts.row_size());
    collect_parameters<double>(fused).discard_gradients();

    testing::pass<double>(fused, x, tape, 0.25);
    testing::pass<double>(fused, x, tape, 0.5);
    testing::pass<double>(fused, x, tape, 0.25);
    testing::expect_near<double>(fused.rule.learned.grad(), logits, 1e-12, "da over micro-batches");
    testing::expect_near<double>({fused.experts.gradient(), g.size()}, g, 1e-12, "G over micro-batches");
    collect_parameters<double>(fused).discard_gradients();

    const Context<double> ctx{.tape = &tape, .training = true};
    const auto twice = [&](const Context<double>& c, const Tensor<double>& input) {
      const auto first = fused(c, input);
      return fused(c, input);
    };
    tape.backward(testing::weighted_sum(ctx, twice(ctx, x)));
    tape.clear();
    testing::expect_near<double>(fused.rule.learned.grad(), logits, 1e-12, "da with an unused pass");
  }
}

/// The same layer twice in one model.
struct Repeated {
  ExFusionFFN<double, LearnedFusion<double>> ffn;
  static void fields(auto& self, auto&& visit) { visit("ffn", self.ffn); }
  Tensor<double> operator()(const Context<double>& ctx, const Tensor<double>& x) const {
    return ffn(ctx, ffn(ctx, x));
  }
};

TEST(ExFusionFFN, GradientIsRightWhenOneLayerRunsTwiceOnOneTape) {
  Rng rng(7);
  const auto x = Parameter<double>::normal({4, 5}, 1.0, rng);
  const Repeated model{random_fused(random_ffn<double>(5, Activation::gelu_erf, rng),
                                    LearnedFusion<double>({.form = LearnedForm::free}), rng)};
  const auto result =
      testing::grad_check([&](const Context<double>& ctx) { return model(ctx, x); }, model, {x});
  EXPECT_TRUE(result) << result;
}

TEST(ExFusionFFN, StraightThroughTakesMicroBatchesAndRoutedRefusesThem) {
  Rng rng(8);
  const auto dense = random_ffn<double>(5, Activation::gelu_tanh, rng);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  const auto other = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  Tape<double> tape;
  const auto straight = random_fused(dense, MemoryBankFusion<double>{}, rng);
  testing::pass<double>(straight, x, tape);
  testing::pass<double>(straight, other, tape);

  const auto routed = random_fused(dense, MemoryBankFusion<double>{}, rng, 3, false);
  testing::pass<double>(routed, x, tape);
  const auto message = testing::message_of<ConfigError>([&] { testing::pass<double>(routed, other, tape); });
  EXPECT_NE(message.find("straight_through"), std::string::npos) << message;
  tape.clear();
  collect_parameters<double>(routed).discard_gradients();
  testing::pass<double>(routed, other, tape);
}

TEST(ExFusionFFN, EvaluatingBetweenForwardAndBackwardDisturbsNothing) {
  Rng rng(9);
  const auto dense = random_ffn<double>(5, Activation::gelu_tanh, rng);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  const auto fused = random_fused(dense, MemoryBankFusion<double>{}, rng, 3, false);
  const auto expected = fused({}, x);
  Tape<double> tape;
  testing::pass<double>(fused, x, tape);
  const std::vector<double> dx(x.grad().begin(), x.grad().end());
  x.gradient()->clear();
  EXPECT_TRUE(testing::identical(fused({}, x), expected)) << "with gradients pending";
  collect_parameters<double>(fused).discard_gradients();

  const Context<double> ctx{.tape = &tape, .training = true};
  const auto loss = testing::weighted_sum(ctx, fused(ctx, x));
  EXPECT_TRUE(testing::identical(fused({}, x), expected)) << "between forward and backward";
  tape.backward(loss);
  tape.clear();
  testing::expect_near<double>(x.grad(), dx, 0.0, "dx");
}

TEST(ExFusionFFN, CopiesDoNotShareExpertsRulesOrBanks) {
  Rng rng(10);
  const auto x = Parameter<double>::normal({2, 3, 5}, 1.0, rng);
  const auto original =
      random_fused(random_ffn<double>(5, Activation::swiglu, rng), MemoryBankFusion<double>{}, rng);
  const auto expected = original({}, x);
  const auto copy = original;
  std::ranges::fill(copy.experts.expert(0), 3.0);
  copy.experts.set_fused(false);
  std::ranges::fill(copy.rule.router.weight.values(), 2.0);
  copy.rule.bank->observe(Tensor<double>::from({1, 3}, {1.0, 0.0, 0.0}));
  copy.rule.bank->end_step();
  EXPECT_FALSE(testing::identical(copy({}, x), expected));
  EXPECT_TRUE(testing::identical(original({}, x), expected));
  EXPECT_EQ(original.rule.bank->steps(), 0);
}

TEST(ExFusionFFN, WeightsThatAreNotFiniteAreAClearError) {
  Rng rng(11);
  const auto dense = random_ffn<float>(3, Activation::gelu_tanh, rng);
  const auto x = Parameter<float>::normal({2, 3}, 1.0, rng);
  const auto learned = random_fused(dense, LearnedFusion<float>({.form = LearnedForm::free}), rng);
  learned.rule.learned.data()[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(testing::message_of<Error>([&] { learned({}, x); }),
            "[fuse] fusion weight a[0, 1] is nan: it must be finite");
  const auto bank = random_fused(dense, MemoryBankFusion<float>{}, rng);
  x.data()[0] = std::numeric_limits<float>::infinity();
  EXPECT_NE(testing::message_of<Error>([&] { bank({.training = true}, x); }).find("[memory_bank]"),
            std::string::npos);
}

TEST(ExFusionFFN, RefusesLessThanOneExpertAndNamesTheNumber) {
  Rng rng(12);
  const auto dense = random_ffn<float>(3, Activation::gelu_tanh, rng);
  for (Index experts : {0, -2}) {
    const auto message = testing::message_of<ConfigError>(
        [&] { upcycle_feed_forward(dense, LearnedFusion<float>{}, true, {experts}, rng); });
    EXPECT_NE(message.find(std::to_string(experts)), std::string::npos) << message;
  }
}

TEST(ExFusionFFN, GivesTheSameBitsForAnyNumberOfThreads) {
  const int kept = omp_get_max_threads();
  std::vector<std::vector<float>> results;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    Rng rng(13);
    const auto x = Parameter<float>::normal({3, 40, 32}, 1.0, rng);
    const auto fused = random_fused(random_ffn<float>(32, Activation::swiglu, rng), MemoryBankFusion<float>{},
                                    rng, 4, false);
    Tape<float> tape;
    testing::pass<float>(fused, x, tape);
    std::vector<float> bits(x.grad().begin(), x.grad().end());
    bits.insert(bits.end(), fused.experts.gradient(), fused.experts.gradient() + fused.experts.row_size());
    const auto router = fused.rule.router.weight.grad();
    bits.insert(bits.end(), router.begin(), router.end());
    results.push_back(std::move(bits));
  }
  omp_set_num_threads(kept);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(ExFusionFFN, TrainingPassesAllocateNothingAfterTheFirst) {
  Rng rng(14);
  const auto dense = random_ffn<float>(7, Activation::swiglu, rng);
  const auto x = Parameter<float>::normal({2, 3, 7}, 1.0, rng);
  for_every_rule<float>([&](const auto& rule, bool causal) {
    const auto fused = random_fused(dense, rule, rng, 3, causal);
    const auto list = collect_parameters<float>(fused);
    Tape<float> tape;
    const auto step = [&] {
      testing::pass<float>(fused, x, tape);
      list.discard_gradients();
      fused.experts.set_fused(false);
    };
    step();
    step();
    const long before = testing::allocation_count;
    step();
    EXPECT_EQ(testing::allocation_count - before, 0);
  });
}

}  // namespace
}  // namespace exfusion
