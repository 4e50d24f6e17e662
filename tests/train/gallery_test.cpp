#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/shapes.hpp>
#include <exfusion/train/gallery.hpp>

namespace exfusion::train {
namespace {

constexpr VitConfig config{
    .image_size = 32, .patch_size = 8, .classes = 10, .layers = 2, .heads = 2, .d_model = 8};

TEST(ImageGallery, ShowsImagesWithPredictionProbabilityAndAttention) {
  Rng rng(1);
  Vit<float> model(config, rng);
  std::ranges::fill(model.head.weight.values(), 0.0F);
  model.head.bias.values()[3] = std::log(91.0F);  // cross: 91 of 91 + 9
  const data::ImageDataset images = data::make_shapes(40, 1);
  const auto gallery = image_gallery(model, images, data::Normalisation::of(images), 6);
  ASSERT_EQ(gallery.size(), 6U);
  std::set<std::string> labels, different;
  for (const GalleryImage& image : gallery) {
    EXPECT_EQ(image.width, 32);
    EXPECT_EQ(image.height, 32);
    EXPECT_TRUE(image.png.starts_with("iVBORw0KGgo"));
    EXPECT_EQ(image.prediction, "cross");
    EXPECT_NEAR(image.probability, 0.91, 1e-6);
    EXPECT_EQ(image.grid, 4);
    ASSERT_EQ(image.attention.size(), 16U);
    EXPECT_NEAR(std::reduce(image.attention.begin(), image.attention.end()), 1.0, 1e-6);
    labels.insert(image.label);
    different.insert(image.png);
  }
  EXPECT_EQ(different.size(), 6U);
  EXPECT_GT(labels.size(), 1U);
}

TEST(ImageGallery, PicksTheSameImagesEachTimeAndNeverOneTwice) {
  Rng rng(1);
  const Vit<float> model(config, rng);
  const data::ImageDataset images = data::make_shapes(20, 1);
  const auto normalisation = data::Normalisation::of(images);
  const auto all = image_gallery(model, images, normalisation, 99, 7);
  std::set<std::string> different;
  for (const GalleryImage& image : all) different.insert(image.png);
  EXPECT_EQ(different.size(), 20U);
  EXPECT_EQ(image_gallery(model, images, normalisation, 3, 7)[2].png, all[2].png);
  EXPECT_THROW(image_gallery(model, images, normalisation, 0), ConfigError);
}

}  // namespace
}  // namespace exfusion::train
