#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/data/resize.hpp>

namespace exfusion::data {
namespace {

Picture picture_of(const nlohmann::json& json) {
  return {.height = json.at("height"), .width = json.at("width"), .pixels = json.at("pixels")};
}

/// Pillow rounds between the two axes, so a level may differ.
void expect_close(const Picture& picture, const std::vector<std::uint8_t>& expected) {
  ASSERT_EQ(picture.pixels.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_LE(std::abs(int{picture.pixels[i]} - int{expected[i]}), 1) << "number " << i;
}

const nlohmann::json pictures =
    nlohmann::json::parse(read_file(EXFUSION_SOURCE_DIR "/tests/fixtures/resize.json"));

TEST(Resize, IsPillows) {
  for (const auto& json : pictures) {
    const Picture picture = picture_of(json);
    for (const auto& resized : json.at("resized")) {
      const Picture result = resize(picture, resized.at("height"), resized.at("width"));
      SCOPED_TRACE(std::to_string(picture.height) + " x " + std::to_string(picture.width) + " to " +
                   std::to_string(result.height) + " x " + std::to_string(result.width));
      expect_close(result, resized.at("pixels"));
    }
  }
}

TEST(Resize, TheMiddleSquareIsTorchvisions) {
  for (const auto& json : pictures) {
    for (const auto& square : json.at("squares")) {
      const Picture result = centre_square(picture_of(json), square.at("size"));
      EXPECT_EQ(result.height, square.at("size"));
      EXPECT_EQ(result.width, square.at("size"));
      expect_close(result, square.at("pixels"));
    }
  }
}

TEST(Resize, LeavesAPictureOfTheSizeAsItIs) {
  const Picture picture = picture_of(pictures.back());
  EXPECT_EQ(resize(picture, picture.height, picture.width).pixels, picture.pixels);
}

TEST(Resize, KeepsOneColourWhateverTheSize) {
  const Picture grey{.height = 5, .width = 9, .channels = 1, .pixels = std::vector<std::uint8_t>(45, 201)};
  for (const Index size : {1, 2, 7, 40}) {
    const Picture result = resize(grey, size, size + 1);
    EXPECT_EQ(std::ranges::count(result.pixels, 201), size * (size + 1));
  }
}

// The whole of it would have 2^40 pixels.
TEST(Resize, TheMiddleOfALongPictureTakesNoMoreThanItself) {
  const Index length = 1 << 20;
  Picture picture{
      .height = length, .width = 1, .channels = 1, .pixels = std::vector<std::uint8_t>(length, 7)};
  picture.pixels[length / 2] = 107;
  const Picture square = centre_square(picture, 1024);
  EXPECT_EQ(square.pixels.size(), 1024U * 1024U);
  EXPECT_EQ(square.pixels.front(), 7);
  EXPECT_EQ(*std::ranges::max_element(square.pixels), 107);
}

TEST(Resize, RefusesSizesOfNothing) {
  const Picture picture = picture_of(pictures.back());
  EXPECT_THROW(resize(picture, 0, 3), ConfigError);
  EXPECT_THROW(resize(Picture{}, 3, 3), ConfigError);
  EXPECT_THROW(centre_square(Picture{}, 3), ConfigError);
  Picture short_of_one = picture;
  short_of_one.pixels.pop_back();
  EXPECT_THROW(resize(short_of_one, 3, 3), ShapeError);
}

}  // namespace
}  // namespace exfusion::data
