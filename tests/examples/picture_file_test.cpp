#include "../../examples/picture_file.hpp"

#include <cstdlib>

#include <gtest/gtest.h>

#include "examples/picture_support.hpp"

namespace exfusion::examples {
namespace {

using testing::gradient, testing::jpeg_file, testing::png_file;

std::string refusal(const std::string& content, Index most = most_pixels) {
  try {
    decode_picture(content, "a.file", most);
  } catch (const FormatError& error) {
    return error.what();
  }
  return {};
}

bool says(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}

TEST(PictureFile, PngGivesItsPixels) {
  for (const Index height : {1, 3, 17}) {
    const auto picture = gradient(height, 7);
    const auto read = decode_picture(png_file(picture), "a.png");
    EXPECT_EQ(read.height, height);
    EXPECT_EQ(read.width, 7);
    EXPECT_EQ(read.pixels, picture.pixels);
  }
}

TEST(PictureFile, PngOfEveryKindBecomesRgb) {
  const std::vector<std::uint8_t> grey{0, 100, 255}, grey_alpha{10, 0, 100, 128, 255, 255},
      rgba{1, 2, 3, 0, 4, 5, 6, 128, 7, 8, 9, 255}, palette{9, 8, 7, 100, 101, 102}, indices{1, 0, 1};
  EXPECT_EQ(decode_picture(png_file(3, 1, PNG_FORMAT_GRAY, grey.data()), "").pixels,
            (std::vector<std::uint8_t>{0, 0, 0, 100, 100, 100, 255, 255, 255}));
  EXPECT_EQ(decode_picture(png_file(3, 1, PNG_FORMAT_GA, grey_alpha.data()), "").pixels,
            (std::vector<std::uint8_t>{10, 10, 10, 100, 100, 100, 255, 255, 255}));
  EXPECT_EQ(decode_picture(png_file(3, 1, PNG_FORMAT_RGBA, rgba.data()), "").pixels,
            (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(
      decode_picture(png_file(3, 1, PNG_FORMAT_RGB_COLORMAP, indices.data(), palette.data(), 2), "").pixels,
      (std::vector<std::uint8_t>{100, 101, 102, 9, 8, 7, 100, 101, 102}));
}

TEST(PictureFile, JpegGivesItsPixelsNearly) {
  for (const int subsampling : {TJSAMP_444, TJSAMP_GRAY}) {
    const bool is_grey = subsampling == TJSAMP_GRAY;
    auto picture = gradient(33, 20);
    if (is_grey) {
      for (std::size_t i = 0; i < picture.pixels.size(); i += 3)
        picture.pixels[i + 1] = picture.pixels[i + 2] = picture.pixels[i];
    }
    const auto read = decode_picture(jpeg_file(20, 33, TJPF_RGB, picture.pixels, subsampling), "a.jpg");
    EXPECT_EQ(read.height, 33);
    EXPECT_EQ(read.width, 20);
    ASSERT_EQ(read.pixels.size(), picture.pixels.size());
    for (std::size_t i = 0; i < read.pixels.size(); ++i)
      ASSERT_LE(std::abs(int{read.pixels[i]} - int{picture.pixels[i]}), 6) << i;
  }
}

TEST(PictureFile, CutFilesAreRefused) {
  const std::string png = png_file(gradient(20, 20)),
                    jpeg = jpeg_file(20, 20, TJPF_RGB, gradient(20, 20).pixels);
  for (std::size_t size = 0; size + 12 < png.size(); ++size)
    EXPECT_NE(refusal(png.substr(0, size)), "") << size;
  for (std::size_t size = 0; size + 2 < jpeg.size(); ++size)
    EXPECT_NE(refusal(jpeg.substr(0, size)), "") << size;
  EXPECT_TRUE(says(refusal(png.substr(0, 60)), "[a.file] is a damaged PNG file: "))
      << refusal(png.substr(0, 60));
  EXPECT_TRUE(says(refusal(jpeg.substr(0, jpeg.size() - 40)), "is a damaged JPEG file: Premature end"))
      << refusal(jpeg.substr(0, jpeg.size() - 40));
}

TEST(PictureFile, BytesThatAreTooManyInAJpegDoNoHarm) {
  const auto picture = gradient(16, 16);
  std::string jpeg = jpeg_file(16, 16, TJPF_RGB, picture.pixels);
  const auto expected = decode_picture(jpeg, "a.jpg").pixels;
  jpeg.insert(jpeg.size() - 2, "\x12\x34");
  EXPECT_EQ(decode_picture(jpeg, "a.jpg").pixels, expected);
}

TEST(PictureFile, OtherFilesAndOtherColoursAreRefused) {
  EXPECT_TRUE(says(refusal(""), "is neither a PNG nor a JPEG file"));
  EXPECT_TRUE(says(refusal("GIF89a..."), "is neither a PNG nor a JPEG file"));
  const std::vector<std::uint8_t> cmyk(4 * 16 * 16, 100);
  EXPECT_TRUE(says(refusal(jpeg_file(16, 16, TJPF_CMYK, cmyk)), "is a JPEG file in CMYK"));
}

TEST(PictureFile, PicturesOfMorePixelsThanAreAllowedAreRefused) {
  EXPECT_EQ(refusal(png_file(gradient(10, 20)), 200), "");
  EXPECT_TRUE(
      says(refusal(png_file(gradient(10, 20)), 199), "is a picture of 10 x 20 pixels: 1 to 199 are read"));
  EXPECT_TRUE(says(refusal(jpeg_file(20, 10, TJPF_RGB, gradient(10, 20).pixels), 199), "10 x 20 pixels"));
}

}  // namespace
}  // namespace exfusion::examples
