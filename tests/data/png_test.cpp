#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <zlib.h>

#include <exfusion/data/png.hpp>

namespace exfusion::data {
namespace {

std::uint32_t number_at(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[i]);
  return value;
}

/// What a reader of PNG files sees, every checksum compared.
struct Decoded {
  std::uint32_t width = 0, height = 0;
  int colour_type = -1;
  std::vector<std::uint8_t> lines;
};

Decoded decode(const std::string& file) {
  Decoded image;
  EXPECT_TRUE(file.starts_with("\x89PNG\r\n\x1a\n"));
  std::string types;
  for (std::size_t at = 8; at < file.size();) {
    const std::size_t size = number_at(file, at);
    const std::string type = file.substr(at + 4, 4), content = file.substr(at + 8, size);
    const std::string checked = type + content;
    EXPECT_EQ(number_at(file, at + 8 + size),
              crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size())));
    types += type + " ";
    if (type == "IHDR") {
      image.width = number_at(content, 0);
      image.height = number_at(content, 4);
      image.colour_type = content[9];
      EXPECT_EQ(content.substr(8), std::string({8, content[9], 0, 0, 0}));
    } else if (type == "IDAT") {
      const std::size_t channels = image.colour_type == 2 ? 3 : 1;
      uLongf bytes = image.height * (1 + image.width * channels);
      image.lines.resize(bytes + 1);
      EXPECT_EQ(uncompress(image.lines.data(), &bytes, reinterpret_cast<const Bytef*>(content.data()), size),
                Z_OK);
      image.lines.resize(bytes);
    }
    at += 12 + size;
  }
  EXPECT_EQ(types, "IHDR IDAT IEND ");
  return image;
}

TEST(Png, KeepsTheBytesOfAGreyImage) {
  const std::vector<std::uint8_t> pixels{0, 1, 2, 253, 254, 255};
  const Decoded image = decode(encode_png(pixels, 1, 2, 3));
  EXPECT_EQ(image.width, 3U);
  EXPECT_EQ(image.height, 2U);
  EXPECT_EQ(image.colour_type, 0);
  EXPECT_EQ(image.lines, (std::vector<std::uint8_t>{0, 0, 1, 2, 0, 253, 254, 255}));
}

TEST(Png, InterleavesThePlanesOfAColourImage) {
  const std::vector<std::uint8_t> pixels{1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24};
  const Decoded image = decode(encode_png(pixels, 3, 2, 2));
  EXPECT_EQ(image.colour_type, 2);
  EXPECT_EQ(image.lines, (std::vector<std::uint8_t>{0, 1, 11, 21, 2, 12, 22, 0, 3, 13, 23, 4, 14, 24}));
}

TEST(Png, TakesOddSizes) {
  for (Index size : {1, 3, 7, 17, 300}) {
    const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * size * size), 200);
    EXPECT_EQ(decode(encode_png(pixels, 3, size, size)).lines.size(),
              static_cast<std::size_t>(size * (1 + 3 * size)));
  }
}

TEST(Png, RefusesSizesThatDoNotFit) {
  const std::vector<std::uint8_t> pixels(8);
  EXPECT_THROW(encode_png(pixels, 2, 2, 2), ShapeError);
  EXPECT_THROW(encode_png(pixels, 1, 2, 2), ShapeError);
  EXPECT_THROW(encode_png(pixels, 1, 0, 8), ShapeError);
  EXPECT_THROW(encode_png(pixels, 1, Index{1} << 40, Index{1} << 40), ShapeError);
  EXPECT_THROW(encode_png({}, 1, 1, 0), ShapeError);
}

}  // namespace
}  // namespace exfusion::data
