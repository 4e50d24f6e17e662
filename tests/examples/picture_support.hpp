#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <png.h>
#include <turbojpeg.h>

#include <exfusion/data/resize.hpp>

// Files of pictures, written by the libraries that read them.

namespace exfusion::testing {

/// A PNG file of pixels in one of libpng's formats.
inline std::string png_file(unsigned width, unsigned height, unsigned format, const void* pixels,
                            const void* palette = nullptr, unsigned colours = 0) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  image.colormap_entries = colours;
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, pixels, 0, palette);
  std::string file(size, '\0');
  if (png_image_write_to_memory(&image, file.data(), &size, 0, pixels, 0, palette) == 0)
    throw std::runtime_error(image.message);
  file.resize(size);
  return file;
}

inline std::string png_file(const data::Picture& picture) {
  return png_file(static_cast<unsigned>(picture.width), static_cast<unsigned>(picture.height), PNG_FORMAT_RGB,
                  picture.pixels.data());
}

/// A JPEG file of the best quality from pixels in one of libjpeg-turbo's formats.
inline std::string jpeg_file(int width, int height, int format, const std::vector<std::uint8_t>& pixels,
                             int subsampling = TJSAMP_444) {
  const tjhandle encoder = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int failed =
      tjCompress2(encoder, pixels.data(), width, 0, height, format, &data, &size, subsampling, 100, 0);
  std::string file = failed != 0 ? std::string() : std::string(reinterpret_cast<const char*>(data), size);
  tjFree(data);
  tjDestroy(encoder);
  return file;
}

/// A picture that differs everywhere, but not wildly.
inline data::Picture gradient(Index height, Index width, int shift = 0) {
  data::Picture picture{.height = height, .width = width, .pixels = {}};
  for (Index row = 0; row < height; ++row) {
    for (Index column = 0; column < width; ++column) {
      for (const Index value : {row * 200 / height, column * 200 / width, Index{100}})
        picture.pixels.push_back(static_cast<std::uint8_t>(value + shift));
    }
  }
  return picture;
}

}  // namespace exfusion::testing
