#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <zlib.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::data {

namespace detail {

inline std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift : {24U, 16U, 8U, 0U}) bytes += static_cast<char>(value >> shift & 255U);
  return bytes;
}

/// Length, type, content and checksum of type and content.
inline std::string png_chunk(std::string_view type, std::string_view content) {
  std::string chunk = big_endian(static_cast<std::uint32_t>(content.size())).append(type).append(content);
  const auto checksum =
      crc32(0, reinterpret_cast<const Bytef*>(chunk.data() + 4), static_cast<uInt>(chunk.size() - 4));
  return chunk + big_endian(static_cast<std::uint32_t>(checksum));
}

inline std::string deflate(const std::string& content) {
  uLongf size = compressBound(static_cast<uLong>(content.size()));
  std::string result(size, '\0');
  const int status = compress2(reinterpret_cast<Bytef*>(result.data()), &size,
                               reinterpret_cast<const Bytef*>(content.data()),
                               static_cast<uLong>(content.size()), Z_BEST_COMPRESSION);
  if (status != Z_OK) throw Error("png", "zlib does not compress: status ", status);
  result.resize(size);
  return result;
}

}  // namespace detail

/// The bytes of a PNG file (ISO/IEC 15948) of pixels [C, H, W], C = 1 (grey) or 3 (red, green, blue). Needs
/// zlib: programs link it. Throws ShapeError when the sizes do not fit, or an image is over 2^28 bytes.
inline std::string encode_png(std::span<const std::uint8_t> pixels, Index channels, Index height,
                              Index width) {
  constexpr Index most = Index{1} << 28;
  if (channels != 1 && channels != 3) {
    throw ShapeError("png", "an image has ", channels, " channels: 1 and 3 are supported");
  }
  if (height < 1 || width < 1 || height > most || width > most / height / channels) {
    throw ShapeError("png", "an image is ", channels, " x ", height, " x ", width,
                     ": it must have at least 1 and at most ", most, " bytes");
  }
  const auto plane = static_cast<std::size_t>(height * width);
  if (pixels.size() != plane * static_cast<std::size_t>(channels)) {
    throw ShapeError("png", pixels.size(), " bytes are no image of ", channels, " x ", height, " x ", width);
  }
  std::string lines;
  for (std::size_t at = 0; at < plane; ++at) {
    if (at % static_cast<std::size_t>(width) == 0) lines += '\0';  // each line begins with its filter: none
    for (std::size_t from = at; from < pixels.size(); from += plane) lines += static_cast<char>(pixels[from]);
  }
  std::string header = detail::big_endian(static_cast<std::uint32_t>(width)) +
                       detail::big_endian(static_cast<std::uint32_t>(height));
  header +=
      {8, static_cast<char>(channels == 3 ? 2 : 0), 0, 0, 0};  // bits, colour; compression, filter, order
  return "\x89PNG\r\n\x1a\n" + detail::png_chunk("IHDR", header) +
         detail::png_chunk("IDAT", detail::deflate(lines)) + detail::png_chunk("IEND", "");
}

}  // namespace exfusion::data
