#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/mixing.hpp>

namespace exfusion::data {
namespace {

/// Image i is full of the number i + 1 and of class i.
ImageBatch<double> numbered(Index count, Index channels = 2, Index height = 7, Index width = 9) {
  ImageBatch<double> batch{Tensor<double>::empty({count, channels, height, width}), IntTensor({count})};
  const Index pixels = channels * height * width;
  for (Index i = 0; i < count; ++i) {
    std::fill_n(batch.images.data() + i * pixels, pixels, static_cast<double>(i + 1));
    batch.labels.data()[i] = static_cast<std::int32_t>(i);
  }
  return batch;
}

double mean_of(const Tensor<double>& images, Index i) {
  const Index pixels = images.size() / images.shape()[0];
  double sum = 0;
  for (Index pixel = 0; pixel < pixels; ++pixel) sum += images.data()[i * pixels + pixel];
  return sum / static_cast<double>(pixels);
}

TEST(ImageMixer, MixesEachImageWithTheOneBeforeByTheShareItSays) {
  for (const MixOptions options : {MixOptions{.mixup = 0.4}, MixOptions{.cutmix = 1}, MixOptions{0.3, 0.7}}) {
    ImageMixer<double> mixer(options);
    Rng rng(3);
    const auto batch = numbered(5);
    for (int repeat = 0; repeat < 50; ++repeat) {
      const MixedBatch<double>& mixed = mixer.mix(batch, rng);
      ASSERT_GE(mixed.share, 0);
      ASSERT_LE(mixed.share, 1);
      for (Index i = 0; i < 5; ++i) {
        const Index other = (i + 4) % 5;
        EXPECT_EQ(mixed.labels.data()[i], i);
        EXPECT_EQ(mixed.partners.data()[i], other);
        const double expected =
            mixed.share * static_cast<double>(i + 1) + (1 - mixed.share) * static_cast<double>(other + 1);
        EXPECT_NEAR(mean_of(mixed.images, i), expected, 1e-12);
      }
    }
    EXPECT_EQ(batch.images.data()[0], 1) << "the loader's batch stays as it is";
  }
}

TEST(ImageMixer, CutsOneRectangle) {
  ImageMixer<double> mixer({.cutmix = 1});
  Rng rng(4);
  const auto batch = numbered(2, 1, 16, 16);
  for (int repeat = 0; repeat < 50; ++repeat) {
    const auto& mixed = mixer.mix(batch, rng);
    Index top = 16, bottom = -1, left = 16, right = -1, count = 0;
    for (Index y = 0; y < 16; ++y) {
      for (Index x = 0; x < 16; ++x) {
        if (mixed.images.data()[y * 16 + x] == 1) continue;
        top = std::min(top, y), bottom = std::max(bottom, y);
        left = std::min(left, x), right = std::max(right, x);
        ++count;
      }
    }
    EXPECT_EQ(count, count == 0 ? 0 : (bottom - top + 1) * (right - left + 1));
  }
}

TEST(ImageMixer, DrawsFromTheBetaDistribution) {
  for (const double alpha : {0.2, 1.0, 3.0}) {
    Rng rng(5);
    constexpr int draws = 20'000;
    double sum = 0, squares = 0;
    for (int i = 0; i < draws; ++i) {
      const double x = detail::draw_beta(alpha, rng);
      ASSERT_TRUE(x >= 0 && x <= 1);
      sum += x, squares += x * x;
    }
    const double mean = sum / draws, variance = squares / draws - mean * mean;
    EXPECT_NEAR(mean, 0.5, 0.012) << alpha;
    EXPECT_NEAR(variance, 1 / (4 * (2 * alpha + 1)), 0.005) << alpha;
  }
}

TEST(ImageMixer, OffGivesTheBatchItselfAndDrawsNothing) {
  ImageMixer<double> mixer({});
  EXPECT_FALSE(mixer.is_on());
  Rng rng(6);
  const auto batch = numbered(3);
  const auto& mixed = mixer.mix(batch, rng);
  EXPECT_EQ(mixed.images.data(), batch.images.data());
  EXPECT_EQ(mixed.share, 1);
  EXPECT_EQ(rng.state(), Rng(6).state());
}

TEST(ImageMixer, DependsOnTheGeneratorAlone) {
  const auto batch = numbered(4);
  ImageMixer<double> first({0.5, 1}), second({0.5, 1});
  Rng a(7), b(7);
  first.mix(numbered(2), a);
  b.set_state(a.state());
  for (int repeat = 0; repeat < 20; ++repeat) {
    const auto& x = first.mix(batch, a);
    const auto& y = second.mix(batch, b);
    EXPECT_EQ(x.share, y.share);
    EXPECT_TRUE(std::ranges::equal(x.images.values(), y.images.values()));
  }
}

TEST(ImageMixer, RefusesNumbersThatAreNoAlpha) {
  EXPECT_THROW(ImageMixer<float>({.mixup = -0.1}), ConfigError);
  EXPECT_THROW(ImageMixer<float>({.cutmix = std::numeric_limits<double>::infinity()}), ConfigError);
  EXPECT_THROW(ImageMixer<float>({.mixup = std::nan("")}), ConfigError);
}

}  // namespace
}  // namespace exfusion::data
