#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/data/image_loader.hpp>

#include "allocation_counter.hpp"
#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

// Random bytes, except that the first pixel of image i is i + 1.
ImageDataset numbered_images(Index count, Index channels = 2, Index height = 6, Index width = 5) {
  ImageDataset images{channels, height, width, {}, {}, {"a", "b", "c"}};
  Rng rng(3);
  for (Index i = 0; i < count; ++i) {
    images.labels.push_back(static_cast<std::int32_t>(i % 3));
    for (Index p = 0; p < images.image_size(); ++p)
      images.pixels.push_back(static_cast<std::uint8_t>(rng.bits()));
    images.pixels[static_cast<std::size_t>(i * images.image_size())] = static_cast<std::uint8_t>(i + 1);
  }
  return images;
}

// Leaves bytes as they are.
Normalisation bytes(Index channels) {
  const auto size = static_cast<std::size_t>(channels);
  return {std::vector<double>(size, 0.0), std::vector<double>(size, 1.0 / 255)};
}

std::vector<std::int32_t> first_pixels(const ImageBatch<double>& batch) {
  std::vector<std::int32_t> result;
  const Index size = batch.images.size() / std::max<Index>(1, batch.labels.size());
  for (Index row = 0; row < batch.labels.size(); ++row) {
    result.push_back(static_cast<std::int32_t>(std::lround(batch.images.data()[row * size])));
  }
  return result;
}

std::vector<float> copy(const ImageBatch<float>& batch) {
  std::vector<float> result(batch.images.values().begin(), batch.images.values().end());
  for (std::int32_t label : batch.labels.values()) result.push_back(static_cast<float>(label));
  return result;
}

// The naive form of cropping and mirroring.
std::vector<double> naive_view(const ImageDataset& images, Index item, Index top, Index left, bool flip) {
  std::vector<double> result;
  for (Index c = 0; c < images.channels; ++c) {
    for (Index y = 0; y < images.height; ++y) {
      for (Index x = 0; x < images.width; ++x) {
        const Index from_y = y + top, from_x = (flip ? images.width - 1 - x : x) + left;
        const bool inside = from_y >= 0 && from_y < images.height && from_x >= 0 && from_x < images.width;
        const Index place = (c * images.height + from_y) * images.width + from_x;
        result.push_back(inside ? images.image(item)[static_cast<std::size_t>(place)] : 0);
      }
    }
  }
  return result;
}

TEST(Normalisation, IsTheMeanAndStandardDeviationOfEachChannel) {
  ImageDataset images{2, 1, 2, {0, 255, 51, 51, 255, 0, 51, 51}, {0, 0}, {"a"}};
  const auto normalisation = Normalisation::of(images);
  EXPECT_DOUBLE_EQ(normalisation.mean[0], 0.5);
  EXPECT_DOUBLE_EQ(normalisation.std[0], 0.5);
  EXPECT_DOUBLE_EQ(normalisation.mean[1], 0.2);
  EXPECT_DOUBLE_EQ(normalisation.std[1], 1.0) << "a constant channel";
  EXPECT_THROW(Normalisation::of(images.without_images()), ConfigError);
}

TEST(ImageLoader, NormalisesEachChannelToMeanZeroAndVarianceOne) {
  const auto images = numbered_images(40, 3, 8, 8);
  const ImageBatches<double> batches(images, Normalisation::of(images), 40);
  const auto& batch = batches[0];
  for (Index c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (Index i = 0; i < 40; ++i) {
      for (Index p = 0; p < 64; ++p) {
        const double value = batch.images.data()[(i * 3 + c) * 64 + p];
        sum += value;
        squares += value * value;
      }
    }
    EXPECT_NEAR(sum / 2560, 0, 1e-12);
    EXPECT_NEAR(squares / 2560, 1, 1e-12);
  }
}

TEST(ImageLoader, VisitsEveryImageOnceInEachEpochInDifferentOrders) {
  const auto images = numbered_images(20);
  ImageLoader<double> loader(images, bytes(2), {.batch = 5, .seed = 4});
  std::set<std::vector<std::int32_t>> orders;
  for (int epoch = 0; epoch < 6; ++epoch) {
    std::vector<std::int32_t> seen;
    for (int step = 0; step < 4; ++step) {
      const auto& batch = loader.next();
      ASSERT_EQ(batch.images.shape(), (Shape{5, 2, 6, 5}));
      const auto numbers = first_pixels(batch);
      for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(batch.labels.values()[i], (numbers[i] - 1) % 3);
      seen.insert(seen.end(), numbers.begin(), numbers.end());
    }
    orders.insert(seen);
    std::ranges::sort(seen);
    std::vector<std::int32_t> expected(20);
    std::iota(expected.begin(), expected.end(), 1);
    EXPECT_EQ(seen, expected);
  }
  EXPECT_EQ(orders.size(), 6U);
}

TEST(ImageLoader, ShowsRandomCropsAndMirrorImages) {
  const auto images = numbered_images(1);
  for (const bool may_flip : {false, true}) {
    ImageLoader<double> loader(images, bytes(2), {.batch = 1, .augmentation = {2, may_flip}});
    std::set<std::tuple<Index, Index, bool>> views;
    for (int step = 0; step < 600; ++step) {
      const auto& batch = loader.next();
      int matches = 0;
      for (Index top = -2; top <= 2; ++top) {
        for (Index left = -2; left <= 2; ++left) {
          for (bool flip : {false, true}) {
            if (!std::ranges::equal(batch.images.values(), naive_view(images, 0, top, left, flip),
                                    [](double a, double b) { return std::abs(a - b) < 1e-9; })) {
              continue;
            }
            ++matches;
            views.insert({top, left, flip});
          }
        }
      }
      ASSERT_EQ(matches, 1) << "step " << step;
    }
    EXPECT_EQ(views.size(), may_flip ? 50U : 25U) << "every view must turn up";
  }
}

TEST(ImageLoader, ContinuesExactlyFromASavedPosition) {
  const auto images = numbered_images(23);
  const ImageLoaderOptions options{.batch = 4, .seed = 8, .augmentation = {2, true}};
  const auto normalisation = Normalisation::of(images);
  ImageLoader<float> straight(images, normalisation, options);
  for (int step = 0; step < 30; ++step) {
    const LoaderState state = straight.state();
    ImageLoader<float> resumed(images, normalisation, {.batch = 4, .seed = 77, .augmentation = {2, true}});
    resumed.set_state(state);
    ASSERT_EQ(copy(straight.next()), copy(resumed.next())) << "step " << step;
    ASSERT_EQ(copy(straight.next()), copy(resumed.next())) << "step " << step;
    EXPECT_EQ(straight.state(), resumed.state());
  }
  EXPECT_GT(straight.epochs(), 3);
  EXPECT_THROW(straight.set_state({8, 24, 0, 0}), ConfigError);
}

TEST(ImageLoader, GivesTheSameBatchesForAnyNumberOfThreads) {
  const auto images = numbered_images(50);
  const auto run = [&](int threads) {
    const int kept = omp_get_max_threads();
    omp_set_num_threads(threads);
    ImageLoader<float> loader(images, bytes(2), {.batch = 37, .seed = 1, .augmentation = {3, true}});
    std::vector<float> all;
    for (int step = 0; step < 5; ++step) std::ranges::copy(copy(loader.next()), std::back_inserter(all));
    omp_set_num_threads(kept);
    return all;
  };
  EXPECT_EQ(run(1), run(3));
}

TEST(ImageLoader, AllocatesNothingAfterTheFirstBatch) {
  const auto images = numbered_images(50);
  ImageLoader<float> loader(images, bytes(2), {.batch = 16, .augmentation = {1, true}});
  const ImageBatches<float> batches(images, bytes(2), 16);
  loader.next();
  const long before = testing::allocation_count;
  for (int step = 0; step < 20; ++step) loader.next();
  for (Index i = 0; i < batches.size(); ++i) batches[i];
  EXPECT_EQ(testing::allocation_count, before);
}

TEST(ImageBatches, PassOverAllImagesInOrderUnchanged) {
  for (Index count : {1, 3, 7, 17, 21}) {
    const auto images = numbered_images(count);
    const ImageBatches<double> batches(images, bytes(2), 7);
    Index item = 0;
    for (Index i = 0; i < batches.size(); ++i) {
      const auto& batch = batches[i];
      ASSERT_EQ(batch.images.shape()[0], batch.labels.shape()[0]);
      for (Index row = 0; row < batch.labels.size(); ++row, ++item) {
        const auto expected = naive_view(images, item, 0, 0, false);
        for (std::size_t p = 0; p < expected.size(); ++p) {
          ASSERT_NEAR(batch.images.data()[row * images.image_size() + static_cast<Index>(p)], expected[p],
                      1e-9);
        }
        EXPECT_EQ(batch.labels.values()[static_cast<std::size_t>(row)], item % 3);
      }
    }
    EXPECT_EQ(item, count);
    EXPECT_THROW(batches[batches.size()], ConfigError);
  }
}

TEST(ImageLoader, RefusesWhatCannotWork) {
  const auto images = numbered_images(5);
  const auto load = [](const ImageDataset& set, const Normalisation& normalisation,
                       const ImageLoaderOptions& options) {
    return message_of<ConfigError>([&] { ImageLoader<float>(set, normalisation, options); });
  };
  EXPECT_CONTAINS(load(images, bytes(2), {.batch = 0}), "the batch is 0");
  EXPECT_CONTAINS(load(images, bytes(2), {.augmentation = {-1, false}}), "the crop padding is -1");
  EXPECT_CONTAINS(load(images, bytes(2), {.augmentation = {6, false}}), "the crop padding is 6");
  EXPECT_CONTAINS(load(images, bytes(3), {}), "3 means and 3 standard deviations for 2 channels");
  EXPECT_CONTAINS(load(images, {{0, 0}, {1, 0}}, {}), "channel 1 has the standard deviation 0");
  EXPECT_CONTAINS(load(images, {{0, 0}, {1, std::nan("")}}, {}), "standard deviation nan");
  EXPECT_CONTAINS(load(images.without_images(), bytes(2), {}), "0 items");
  auto broken = images;
  broken.labels[2] = 3;
  EXPECT_CONTAINS(load(broken, bytes(2), {}), "label 3 is outside the 3 classes");
  broken = images;
  broken.pixels.pop_back();
  EXPECT_CONTAINS(load(broken, bytes(2), {}), "299 bytes are not 5 images of 2 x 6 x 5");
  EXPECT_THROW(ImageBatches<float>(images, bytes(2), 0), ConfigError);
  const auto none = images.without_images();
  EXPECT_THROW(ImageBatches<float>(none, bytes(2), 4), ConfigError);
}

}  // namespace
}  // namespace exfusion::data
