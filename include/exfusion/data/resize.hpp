#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::data {

/// A picture of any size: rows of pixels of interleaved channels.
struct Picture {
  Index height = 0;
  Index width = 0;
  Index channels = 3;
  std::vector<std::uint8_t> pixels;  ///< [H, W, C]
};

namespace detail {

/// What one pixel of a shrunk or stretched row is made of: `weights`, of sum 1, for the pixels from `first`
/// on.
struct ResizeTap {
  Index first = 0;
  std::vector<float> weights;
};

/// The pixels [begin, begin + count) of `from` pixels brought to `to`, by the triangle filter: as wide as a
/// new pixel where the row shrinks, so that every old pixel counts.
inline std::vector<ResizeTap> resize_taps(Index from, Index to, Index begin, Index count) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), reach = std::max(scale, 1.0);
  std::vector<ResizeTap> taps(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(begin + i) + 0.5) * scale;
    const Index first = std::max<Index>(0, static_cast<Index>(centre - reach + 0.5));
    const Index end = std::min(from, static_cast<Index>(centre + reach + 0.5));
    double sum = 0;
    std::vector<double> weights;
    for (Index at = first; at < end; ++at) {
      weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(at) + 0.5 - centre) / reach));
      sum += weights.back();
    }
    ResizeTap& tap = taps[static_cast<std::size_t>(i)];
    tap.first = first;
    for (const double weight : weights) tap.weights.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

/// Applies taps along the middle axis of [lines, length, stride], whose lines begin `line_stride` numbers
/// apart.
template <class Number>
std::vector<float> resize_axis(const Number* from, Index lines, Index line_stride, Index stride,
                               const std::vector<ResizeTap>& taps) {
  const Index made = std::ssize(taps);
  std::vector<float> to(static_cast<std::size_t>(lines * made * stride));
  for (Index line = 0; line < lines; ++line) {
    for (Index i = 0; i < made; ++i) {
      const auto& [first, weights] = taps[static_cast<std::size_t>(i)];
      float* target = to.data() + (line * made + i) * stride;
      const Number* source = from + line * line_stride + first * stride;
      for (const float weight : weights) {
        for (Index c = 0; c < stride; ++c) target[c] += weight * static_cast<float>(source[c]);
        source += stride;
      }
    }
  }
  return to;
}

/// Of a picture in another size the part for which there are `rows` and `columns`. Work and memory are those
/// of what that part is made of, whatever the rest.
inline Picture resize_part(const Picture& picture, std::vector<ResizeTap> rows,
                           const std::vector<ResizeTap>& columns) {
  const Index top = rows.front().first, bottom = rows.back().first + std::ssize(rows.back().weights);
  for (ResizeTap& tap : rows) tap.first -= top;
  const Index channels = picture.channels, made = std::ssize(columns), row_size = picture.width * channels;
  const auto narrow =
      resize_axis(picture.pixels.data() + top * row_size, bottom - top, row_size, channels, columns);
  const auto small = resize_axis(narrow.data(), 1, std::ssize(narrow), made * channels, rows);
  Picture result{.height = std::ssize(rows), .width = made, .channels = channels, .pixels = {}};
  result.pixels.reserve(small.size());
  for (const float value : small)
    result.pixels.push_back(static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0F, 255.0F))));
  return result;
}

/// Sides that picture and result may have, so that no product of them overflows.
inline constexpr Index longest_side = Index{1} << 30;

inline void check_resize(const Picture& picture, Index height, Index width) {
  for (const Index side : {picture.height, picture.width, height, width}) {
    if (side >= 1 && side <= longest_side) continue;
    throw ConfigError("resize", picture.height, " x ", picture.width, " to ", height, " x ", width,
                      ": all must be 1 to ", longest_side);
  }
  if (picture.channels >= 1 &&
      std::ssize(picture.pixels) == picture.height * picture.width * picture.channels)
    return;
  throw ShapeError("resize", "the picture has ", picture.pixels.size(), " numbers: [", picture.height, ", ",
                   picture.width, ", ", picture.channels, "] are needed");
}

}  // namespace detail

/// The picture in another size, by the triangle filter with antialiasing: as Pillow's BILINEAR and
/// torchvision's Resize(antialias=True), to rounding. Throws ConfigError when a side is not 1 to 2^30,
/// ShapeError when the picture has not as many numbers as it says.
inline Picture resize(const Picture& picture, Index height, Index width) {
  detail::check_resize(picture, height, width);
  return detail::resize_part(picture, detail::resize_taps(picture.height, height, 0, height),
                             detail::resize_taps(picture.width, width, 0, width));
}

/// The middle of a picture as a square of `size` pixels: its shorter side becomes `size` long, what the
/// longer one has more is cut off on both sides, as by torchvision's Resize and CenterCrop. Throws
/// ConfigError as `resize` does.
inline Picture centre_square(const Picture& picture, Index size) {
  detail::check_resize(picture, size, size);
  const Index shorter = std::min(picture.height, picture.width);
  const auto taps = [&](Index side) {
    const Index scaled = size * side / shorter;
    // Half a pixel goes to the even side, as Python rounds.
    const auto margin = static_cast<Index>(std::nearbyint(static_cast<double>(scaled - size) / 2));
    return detail::resize_taps(side, scaled, margin, size);
  };
  return detail::resize_part(picture, taps(picture.height), taps(picture.width));
}

}  // namespace exfusion::data
