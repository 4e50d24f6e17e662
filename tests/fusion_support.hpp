#pragma once

// What the tests of fusion share: a small model, a rule of a user's own, and naive counterparts.

#include <string>
#include <utility>
#include <vector>

#include <exfusion/models/collapse.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/static_fusion.hpp>

namespace exfusion::testing {

/// The least that upcycle and collapse ask of a model: a linear map, feed-forward networks one after another.
template <Scalar T, class F = FeedForward<T>, bool is_causal = true>
struct TinyModel {
  static constexpr bool causal = is_causal;
  Linear<T> input;
  std::vector<F> ffns;

  static void fields(auto& self, auto&& visit) {
    visit("input", self.input);
    visit("ffns", self.ffns);
  }

  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    Tensor<T> h = input(ctx, x);
    for (const F& ffn : ffns) h = ffn(ctx, h);
    return h;
  }

  template <class Make>
  auto transform_ffn(Make make) const {
    TinyModel<T, decltype(make(ffns[0], Index{0})), is_causal> result{input, {}};
    for (std::size_t i = 0; i < ffns.size(); ++i) {
      result.ffns.push_back(make(ffns[i], static_cast<Index>(i)));
    }
    return result;
  }
};

template <Scalar T, bool is_causal = true>
TinyModel<T, FeedForward<T>, is_causal> tiny_model(Rng& rng, Index layers = 2, Index d_model = 6,
                                                   Activation activation = Activation::gelu_tanh) {
  TinyModel<T, FeedForward<T>, is_causal> model{Linear<T>(d_model, d_model, 0.5, rng), {}};
  for (Index i = 0; i < layers; ++i) {
    model.ffns.emplace_back(FeedForwardConfig{d_model, 2 * d_model + 1, activation, 0.5, 0.5}, rng);
  }
  return model;
}

/// A user's own rule: one sigmoid per matrix, divided among the experts by fixed odd shares. Its weights do
/// not sum to one.
template <Scalar T>
struct GatedRule {
  static constexpr bool constant_weights = false;
  Parameter<T> level;
  Index groups = 0, experts = 0;

  static void fields(auto& self, auto&& visit) { visit("level", self.level); }

  FusionGranularity granularity() const { return FusionGranularity::matrix; }
  void initialise(const FusionSite& site, Rng&) {
    groups = site.groups;
    experts = site.experts;
    level = Parameter<T>({1}, {.decay = false, .fusion = true});
    level.data()[0] = T{1};
  }
  Tensor<T> training_weights(const Context<T>& ctx, const Tensor<T>&) const {
    const Tensor<T> a = ctx.output({groups, experts}, level);
    fill(a);
    ctx.record(a, Node{level, a, experts});
    return a;
  }
  Tensor<T> export_weights() const {
    const Tensor<T> a = Tensor<T>::empty({groups, experts});
    fill(a);
    return a;
  }

 private:
  struct Node {
    static constexpr std::string_view name = "gated_rule";
    Tensor<T> level, a;
    Index experts;

    void backward() const {
      T sum = 0;
      for (Index i = 0; i < a.size(); ++i) sum += a.grad()[static_cast<std::size_t>(i)] * share(i, experts);
      const GradientTarget<T> target = level.open_gradient();
      *target.data = target.accumulate ? *target.data + sum : sum;
    }
  };

  static T share(Index i, Index experts) {
    return static_cast<T>(2 * (i % experts) + 1) / static_cast<T>(experts * experts);
  }
  void fill(const Tensor<T>& a) const {
    for (Index i = 0; i < a.size(); ++i) a.data()[i] = level.data()[0] * share(i, experts);
  }
};
static_assert(FusionRule<GatedRule<float>, float>);

/// Loss and backward pass: the sum of y's elements times fixed numbers.
template <Scalar T>
struct WeightedSumNode {
  static constexpr std::string_view name = "weighted_sum";
  Tensor<T> y, loss;

  static T factor(Index i) { return static_cast<T>((i * 7) % 5) - T(1.5); }
  void backward() const {
    const GradientTarget<T> dy = y.open_gradient();
    for (Index i = 0; i < y.size(); ++i) {
      dy.data[i] = loss.grad()[0] * factor(i) + (dy.accumulate ? dy.data[i] : T{0});
    }
  }
};

template <Scalar T>
Tensor<T> weighted_sum(const Context<T>& ctx, const Tensor<T>& y) {
  const Tensor<T> loss = ctx.output(Shape{}, y);
  *loss.data() = 0;
  for (Index i = 0; i < y.size(); ++i) *loss.data() += WeightedSumNode<T>::factor(i) * y.data()[i];
  ctx.record(loss, WeightedSumNode<T>{y, loss});
  return loss;
}

/// One forward and backward pass in training; gradients stay for an optimizer or a comparison.
template <Scalar T, class Model>
T pass(const Model& model, const Tensor<T>& x, Tape<T>& tape, T scale = T{1}) {
  const Context<T> ctx{.tape = &tape, .training = true};
  const Tensor<T> loss = weighted_sum(ctx, model(ctx, x));
  tape.backward(loss, scale);
  const T value = loss.item();
  tape.clear();
  return value;
}

template <Scalar T>
void expect_near(std::span<const T> got, std::span<const T> want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance) << what << ", element " << i;
  }
}

template <Scalar T>
void expect_near(const Tensor<T>& got, const Tensor<T>& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  expect_near<T>(got.values(), want.values(), tolerance, what);
}

/// Whether two tensors agree to the bit.
template <Scalar T>
bool identical(const Tensor<T>& x, const Tensor<T>& y) {
  return x.shape() == y.shape() && std::ranges::equal(x.values(), y.values());
}

/// The message of the Error that `action` throws; empty when it throws none.
template <class Expected, class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Expected& error) {
    return error.what();
  }
  return "";
}

}  // namespace exfusion::testing
