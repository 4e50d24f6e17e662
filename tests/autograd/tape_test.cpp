#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/autograd/context.hpp>
#include <exfusion/autograd/parameter.hpp>
#include <exfusion/ops/add.hpp>

namespace exfusion {
namespace {

// Notes each backward pass, then hands dy to x.
struct NotingNode {
  static constexpr std::string_view name = "noting";
  Tensor<float> x, y;
  std::string label;
  std::vector<std::string>* log;

  void backward() const {
    log->push_back(label);
    const GradientTarget<float> dx = x.open_gradient();
    *dx.data = y.grad()[0] + (dx.accumulate ? *dx.data : 0.0F);
  }
};

Tensor<float> noting(const Context<float>& ctx, const Tensor<float>& x, std::string label,
                     std::vector<std::string>& log) {
  const Tensor<float> y = ctx.output(x.shape(), x);
  *y.data() = *x.data();
  ctx.record(y, NotingNode{x, y, std::move(label), &log});
  return y;
}

TEST(Tape, RunsTheOperationsInReverseAndSkipsDeadBranches) {
  std::vector<std::string> log;
  const auto x = Parameter<float>::constant({}, 2.0F);
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape};
  const auto first = noting(ctx, x, "first", log);
  noting(ctx, noting(ctx, first, "dead", log), "dead too", log);
  const auto loss = noting(ctx, noting(ctx, first, "second", log), "third", log);
  EXPECT_EQ(tape.size(), 5U);
  EXPECT_EQ(tape.name(0), "noting");
  tape.backward(loss);
  EXPECT_EQ(log, (std::vector<std::string>{"third", "second", "first"}));
  EXPECT_EQ(x.grad()[0], 1.0F);
}

TEST(Tape, OverwritesGradientsFirstAndThenAddsToThem) {
  const auto x = Parameter<float>::constant({}, 2.0F);
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape};
  for (int pass = 1; pass <= 3; ++pass) {
    tape.backward(add(ctx, add(ctx, x, x), x));
    EXPECT_EQ(x.grad()[0], 3.0F * static_cast<float>(pass));
    tape.clear();
  }
  x.gradient()->clear();
  tape.backward(add(ctx, x, x));
  EXPECT_EQ(x.grad()[0], 2.0F);
}

TEST(Tape, ScalesTheGradientOfTheLossAndOfAddedTerms) {
  const auto x = Parameter<float>::constant({}, 2.0F);
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape};
  const auto loss = add(ctx, x, x);
  tape.add_loss(add(ctx, x, x));
  tape.add_loss(Tensor<float>::from({}, {10.0F}));
  EXPECT_EQ(tape.added_loss(), 14.0F);
  tape.backward(loss, 0.25F);
  EXPECT_EQ(x.grad()[0], 1.0F);
  tape.clear();
  EXPECT_EQ(tape.added_loss(), 0.0F);
  EXPECT_THROW(tape.add_loss(Tensor<float>::zeros({2})), ShapeError);
}

TEST(Tape, RefusesASecondBackwardPassUntilItIsCleared) {
  const auto x = Parameter<float>::constant({}, 2.0F);
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape};
  const auto loss = add(ctx, x, x);
  tape.backward(loss);
  EXPECT_THROW(tape.backward(loss), Error);
  EXPECT_EQ(x.grad()[0], 2.0F);
  tape.clear();
  EXPECT_EQ(tape.size(), 0U);
  tape.backward(add(ctx, x, x));
  EXPECT_EQ(x.grad()[0], 4.0F);
}

TEST(Tape, RefusesALossThatItDidNotRecord) {
  const auto x = Parameter<float>::constant({}, 2.0F), wide = Parameter<float>::constant({2}, 2.0F);
  Tape<float> tape, other;
  const Context<float> ctx{.tape = &tape}, elsewhere{.tape = &other};
  EXPECT_THROW(tape.backward(add(elsewhere, x, x)), Error);
  EXPECT_THROW(tape.backward(add(Context<float>{}, x, x)), Error);
  EXPECT_THROW(tape.backward(x), Error);
  EXPECT_THROW(tape.backward(add(ctx, wide, wide)), ShapeError);
  EXPECT_FALSE(x.gradient()->defined);
  tape.backward(add(ctx, x, x));
  EXPECT_EQ(x.grad()[0], 2.0F);
}

TEST(Tape, RecordsNothingOfConstants) {
  const auto x = Tensor<float>::from({}, {2.0F});
  Tape<float> tape;
  const Context<float> ctx{.tape = &tape};
  EXPECT_FALSE(add(ctx, x, x).requires_grad());
  EXPECT_EQ(tape.size(), 0U);
}

TEST(Tape, DestroysItsNodes) {
  const auto counted = std::make_shared<float>(1.0F);
  const auto x = Tensor<float>(counted.get(), {}, nullptr, counted);
  {
    Tape<float> tape;
    const Context<float> ctx{.tape = &tape};
    const auto y = Parameter<float>::constant({}, 2.0F);
    add(ctx, x, y);
    EXPECT_GT(counted.use_count(), 2);
    tape.clear();
    EXPECT_EQ(counted.use_count(), 2);
    add(ctx, x, y);
  }
  EXPECT_EQ(counted.use_count(), 2);
}

}  // namespace
}  // namespace exfusion
