#include <algorithm>
#include <cstdint>
#include <numeric>

#include <gtest/gtest.h>

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {
namespace {

TEST(Tensor, IsAHandleOntoSharedNumbers) {
  const auto x = Tensor<float>::from({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor<float> y = x;
  y.data()[4] = 50;
  EXPECT_EQ(x.data()[4], 50);
  const auto z = x.reshape({3, 2});
  EXPECT_EQ(z.data(), x.data());
  EXPECT_EQ(z.shape(), (Shape{3, 2}));
  EXPECT_THROW(x.reshape({4, 2}), ShapeError);
}

TEST(Tensor, OutlivesTheHandleItWasMadeWith) {
  Tensor<float> view;
  {
    const auto x = Tensor<float>::from({2}, {1, 2});
    view = x.reshape({2, 1});
  }
  EXPECT_EQ(view.data()[1], 2);
}

TEST(Tensor, IsAlignedToCacheLines) {
  for (Index size : {1, 3, 17, 1000}) {
    const auto address = reinterpret_cast<std::uintptr_t>(Tensor<double>::zeros({size}).data());
    EXPECT_EQ(address % storage_alignment, 0U);
  }
}

TEST(Buffer, BeginsOnAHugePageWhenItIsLarge) {
  constexpr Index huge_page = 2 << 20;
  for (Index size : {2 * huge_page, 3 * huge_page + 1}) {
    Buffer<char> buffer = Buffer<char>::zeros(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % huge_page, 0U);
    buffer[size - 1] = 7;
    const Buffer<char> copy = buffer;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(copy.data()) % huge_page, 0U);
    EXPECT_EQ(copy[0], 0);
    EXPECT_EQ(copy[size - 1], 7);
    buffer = Buffer<char>(1);
    EXPECT_EQ(buffer.size(), 1);
  }
}

TEST(Buffer, IsZeroedAndCopiedWhole) {
  for (Index size : {0, 1, 17, 1 << 20, (3 << 20) + 5}) {  // the last two take one range and several
    Buffer<int> zeros = Buffer<int>::zeros(size);
    EXPECT_TRUE(std::ranges::all_of(zeros.span(), [](int value) { return value == 0; }));
    std::iota(zeros.span().begin(), zeros.span().end(), 1);
    const Buffer<int> copy = zeros;
    EXPECT_TRUE(std::ranges::equal(copy.span(), zeros.span()));
  }
}

TEST(Tensor, TellsWhetherItExists) {
  EXPECT_FALSE(Tensor<float>());
  EXPECT_TRUE(Tensor<float>::zeros({}));
  EXPECT_TRUE(Tensor<float>::zeros({0, 3}));
}

TEST(Tensor, GivesItsOnlyNumber) {
  EXPECT_EQ(Tensor<float>::from({}, {3}).item(), 3);
  EXPECT_EQ(Tensor<float>::from({1, 1}, {3}).item(), 3);
  EXPECT_THROW(Tensor<float>::zeros({2}).item(), ShapeError);
  EXPECT_THROW(Tensor<float>::from({2}, {1, 2, 3}), ShapeError);
}

TEST(Gradient, IsOverwrittenByTheFirstWriterAndAddedToByTheNext) {
  const auto x = Parameter<float>::constant({2}, 1.0F);
  EXPECT_THROW(x.grad(), Error);
  EXPECT_FALSE(x.open_gradient().accumulate);
  EXPECT_TRUE(x.open_gradient().accumulate);
  x.gradient()->clear();
  EXPECT_THROW(x.grad(), Error);
  EXPECT_FALSE(x.open_gradient().accumulate);
}

TEST(Gradient, OfAnActivationTakesMemoryFromTheArenaWhenFirstWritten) {
  Arena arena;
  Gradient<float> gradient{nullptr, 8, false, &arena};
  float* first = gradient.open().data;
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(gradient.open().data, first);
  gradient.clear();
  EXPECT_EQ(gradient.data, nullptr);
  gradient.clear();
  EXPECT_EQ(gradient.open().data, first);
}

TEST(Gradient, HandsItsMemoryOverOnlyToAnEmptyOneOfTheSameSizeAndArena) {
  Arena arena, other_arena;
  float own[8] = {};
  Gradient<float> from{nullptr, 8, false, &arena}, to{nullptr, 8, false, &arena};
  EXPECT_FALSE(from.hand_over(to)) << "there is nothing to hand over";
  float* memory = from.open().data;
  for (Gradient<float> unfit :
       {Gradient<float>{nullptr, 4, false, &arena}, Gradient<float>{nullptr, 8, false, &other_arena},
        Gradient<float>{own, 8, false, nullptr}, Gradient<float>{own, 8, true, &arena}}) {
    float* before = unfit.data;
    EXPECT_FALSE(from.hand_over(unfit));
    EXPECT_EQ(unfit.data, before);
    EXPECT_TRUE(from.defined);
  }
  EXPECT_TRUE(from.hand_over(to));
  EXPECT_EQ(to.data, memory);
  EXPECT_TRUE(to.open().accumulate);
  EXPECT_FALSE(from.defined);
  from.clear();
  EXPECT_NE(from.open().data, memory);
}

TEST(Gradient, IsAbsentFromConstantsAndDetachedTensors) {
  const auto x = Parameter<float>::constant({2}, 1.0F);
  EXPECT_TRUE(x.requires_grad());
  EXPECT_FALSE(x.detach().requires_grad());
  EXPECT_EQ(x.detach().data(), x.data());
  EXPECT_EQ(x.detach().open_gradient().data, nullptr);
  EXPECT_THROW(Tensor<float>::zeros({2}).grad(), Error);
}

TEST(Parameter, CopiesItsValueDeeplyButNotItsGradient) {
  auto x = Parameter<float>::constant({2}, 1.0F);
  x.set_options({.decay = true, .lr_multiplier = 3.0});
  x.open_gradient();
  const Parameter<float> copy = x;
  EXPECT_NE(copy.data(), x.data());
  EXPECT_EQ(copy.data()[1], 1.0F);
  EXPECT_EQ(copy.options().lr_multiplier, 3.0);
  EXPECT_FALSE(copy.gradient()->defined);
}

TEST(Parameter, KeepsItsAddressWhenMoved) {
  auto x = Parameter<float>::constant({2}, 1.0F);
  const Tensor<float> handle = x;
  const Parameter<float> moved = std::move(x);
  EXPECT_EQ(moved.data(), handle.data());
  EXPECT_EQ(moved.gradient(), handle.gradient());
}

TEST(Parameter, DecaysFromRankTwoOnUnlessToldOtherwise) {
  EXPECT_FALSE(Parameter<float>({4}).options().decay);
  EXPECT_TRUE(Parameter<float>({4, 4}).options().decay);
  EXPECT_FALSE(Parameter<float>({4, 4}, {.decay = false}).options().decay);
}

TEST(IntTensor, CopiesItsValuesAndRejectsAWrongNumber) {
  const IntTensor ids({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(ids.size(), 4);
  EXPECT_EQ(ids.values()[3], 4);
  EXPECT_THROW(IntTensor({2, 2}, {1, 2, 3}), ShapeError);
  EXPECT_EQ(IntTensor().size(), 0);
  EXPECT_EQ(IntTensor().data(), nullptr);
}

}  // namespace
}  // namespace exfusion
