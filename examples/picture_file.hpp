#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <png.h>
#include <turbojpeg.h>

#include <exfusion/core/file.hpp>
#include <exfusion/data/resize.hpp>

// Pictures from PNG and JPEG files, by libpng and libjpeg-turbo.

namespace exfusion::examples {

/// Pixels of the largest picture that is read, so that a small file cannot ask for all memory.
inline constexpr Index most_pixels = Index{1} << 27;

namespace detail {

inline Index checked_pixels(Index height, Index width, Index most, const std::string& where) {
  if (height > 0 && width > 0 && height <= most / width) return height * width;
  throw FormatError(where, "is a picture of ", height, " x ", width, " pixels: 1 to ", most, " are read");
}

inline data::Picture decode_png(std::span<const std::byte> bytes, const std::string& where, Index most) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, decltype(&png_image_free)> freed_at_the_end(&image, png_image_free);
  const auto refuse = [&] { throw FormatError(where, "is a damaged PNG file: ", image.message); };
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) refuse();
  const Index pixels = checked_pixels(image.height, image.width, most, where);
  image.format = PNG_FORMAT_RGBA;            // what is transparent has a colour, too, and that is taken
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // 16 bits mean the same colours as 8 bits
  std::vector<std::uint8_t> rgba(static_cast<std::size_t>(4 * pixels));
  if (png_image_finish_read(&image, nullptr, rgba.data(), 0, nullptr) == 0) refuse();
  data::Picture picture{.height = image.height, .width = image.width, .pixels = {}};
  picture.pixels.resize(static_cast<std::size_t>(3 * pixels));
  for (std::size_t i = 0; i < static_cast<std::size_t>(pixels); ++i)
    std::copy_n(rgba.data() + 4 * i, 3, picture.pixels.data() + 3 * i);
  return picture;
}

inline data::Picture decode_jpeg(std::span<const std::byte> bytes, const std::string& where, Index most) {
  const std::unique_ptr<void, decltype(&tjDestroy)> decoder(tjInitDecompress(), tjDestroy);
  if (!decoder) throw Error("jpeg", "no decoder: ", tjGetErrorStr2(nullptr));
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto size = static_cast<unsigned long>(bytes.size());
  const auto refuse_damage = [&] {
    // Bytes that are too many do no harm, and cameras write some.
    const std::string problem = tjGetErrorStr2(decoder.get());
    if (problem.find("extraneous bytes") == std::string::npos)
      throw FormatError(where, "is a damaged JPEG file: ", problem);
  };
  int width = 0, height = 0, subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), data, size, &width, &height, &subsampling, &colours) != 0)
    refuse_damage();
  if (colours == TJCS_CMYK || colours == TJCS_YCCK)
    throw FormatError(where, "is a JPEG file in CMYK: RGB and grey are read");
  const Index pixels = checked_pixels(height, width, most, where);
  data::Picture picture{.height = height, .width = width, .pixels = {}};
  picture.pixels.resize(static_cast<std::size_t>(3 * pixels));
  if (tjDecompress2(decoder.get(), data, size, picture.pixels.data(), width, 0, height, TJPF_RGB,
                    TJFLAG_ACCURATEDCT) != 0)
    refuse_damage();
  return picture;
}

}  // namespace detail

/// The picture of a PNG or JPEG file's content: 8 bits of red, green and blue, whatever the file has;
/// transparency is left out, a rotation noted beside the pixels (EXIF) not followed. Throws FormatError, in
/// the name of `where`, when it is neither, damaged, cut, in CMYK, or has over `most` pixels.
inline data::Picture decode_picture(std::string_view content, const std::string& where,
                                    Index most = most_pixels) {
  const auto bytes = std::as_bytes(std::span(content));
  if (content.starts_with("\x89PNG")) return detail::decode_png(bytes, where, most);
  if (content.starts_with("\xFF\xD8")) return detail::decode_jpeg(bytes, where, most);
  throw FormatError(where, "is neither a PNG nor a JPEG file");
}

}  // namespace exfusion::examples
