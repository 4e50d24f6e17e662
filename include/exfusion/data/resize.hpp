#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
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

/// The old pixels that taps use, from the first to the end; the taps then count from the first.
inline std::pair<Index, Index> take_used(std::vector<ResizeTap>& taps) {
  const Index begin = taps.front().first, end = taps.back().first + std::ssize(taps.back().weights);
  for (ResizeTap& tap : taps) tap.first -= begin;
  return {begin, end};
}

/// Applies taps along the middle axis of [lines, length, stride].
inline std::vector<float> resize_axis(std::span<const float> from, Index lines, Index length, Index stride,
                                      const std::vector<ResizeTap>& taps) {
  const Index made = std::ssize(taps);
  std::vector<float> to(static_cast<std::size_t>(lines * made * stride));
  for (Index line = 0; line < lines; ++line) {
    for (Index i = 0; i < made; ++i) {
      const auto& [first, weights] = taps[static_cast<std::size_t>(i)];
      float* target = to.data() + (line * made + i) * stride;
      const float* source = from.data() + (line * length + first) * stride;
      for (const float weight : weights) {
        for (Index c = 0; c < stride; ++c) target[c] += weight * source[c];
        source += stride;
      }
    }
  }
  return to;
}

/// Of a picture in another size the part for which there are `rows` and `columns`. Work and memory are those
/// of what that part is made of, whatever the rest.
inline Picture resize_part(const Picture& picture, std::vector<ResizeTap> rows,
                           std::vector<ResizeTap> columns) {
  const auto [top, bottom] = take_used(rows);
  const auto [left, right] = take_used(columns);
  const Index channels = picture.channels, width = right - left, made = std::ssize(columns);
  std::vector<float> numbers;
  numbers.reserve(static_cast<std::size_t>((bottom - top) * width * channels));
  for (Index row = top; row < bottom; ++row) {
    const auto begin = picture.pixels.begin() + (row * picture.width + left) * channels;
    numbers.insert(numbers.end(), begin, begin + width * channels);
  }
  const auto narrow = resize_axis(numbers, bottom - top, width, channels, columns);
  const auto small = resize_axis(narrow, 1, bottom - top, made * channels, rows);
  Picture result{.height = std::ssize(rows), .width = made, .channels = channels, .pixels = {}};
  result.pixels.reserve(small.size());
  for (const float value : small)
    result.pixels.push_back(static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0F, 255.0F))));
  return result;
}

inline void check_resize(const Picture& picture, Index height, Index width) {
  if (height >= 1 && width >= 1 && picture.height >= 1 && picture.width >= 1) return;
  throw ConfigError("resize", picture.height, " x ", picture.width, " to ", height, " x ", width,
                    ": all must be at least 1");
}

}  // namespace detail

/// The picture in another size, by the triangle filter with antialiasing: as Pillow's BILINEAR and
/// torchvision's Resize(antialias=True), to rounding. Throws ConfigError when a size is not positive.
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
