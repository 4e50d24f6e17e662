#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <sstream>
#include <utility>

#include <exfusion/core/error.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/data/image.hpp>
#include <exfusion/data/shuffle.hpp>

namespace exfusion::data {

namespace detail {

inline constexpr Index shape_image_size = 32;

enum class ShapeClass { circle, square, triangle, cross, ring, star, rows, columns, diagonals, checkerboard };
inline constexpr std::array shape_names{"circle", "square", "triangle", "cross",     "ring",
                                        "star",   "rows",   "columns",  "diagonals", "checkerboard"};

struct Point {
  double x = 0, y = 0;
};

using Colour = std::array<double, 3>;

inline Point rotate(Point p, double angle) {
  const double c = std::cos(angle), s = std::sin(angle);
  return {c * p.x + s * p.y, c * p.y - s * p.x};
}

inline double box_distance(Point p, double half_width, double half_height) {
  return std::max(std::abs(p.x) - half_width, std::abs(p.y) - half_height);
}

/// Distance to a star of five tips on the unit circle, its inner corners at radius 0.42; negative inside.
inline double star_distance(Point p) {
  constexpr double sector = 2 * std::numbers::pi / 5, inner = 0.42;
  const double angle = std::atan2(p.y, p.x);
  const double folded = std::abs(angle - sector * std::round(angle / sector)), radius = std::hypot(p.x, p.y);
  const Point q{radius * std::cos(folded), radius * std::sin(folded)};
  const Point edge{1 - inner * std::cos(sector / 2),
                   -inner * std::sin(sector / 2)};  // from inner corner to tip
  return ((q.y * edge.x) - (q.x - 1) * edge.y) / std::hypot(edge.x, edge.y);
}

/// Distance to the boundary of a solid shape of radius 1 about the origin, negative inside; close enough to
/// the true one for a smooth edge.
inline double solid_distance(ShapeClass shape, Point p) {
  const double radius = std::hypot(p.x, p.y);
  switch (shape) {
    case ShapeClass::square:
      return box_distance(p, 0.78, 0.78);
    case ShapeClass::triangle:
      return std::max(p.y, 0.5 * (std::sqrt(3.0) * std::abs(p.x) - p.y)) - 0.5;
    case ShapeClass::cross:
      return std::min(box_distance(p, 0.95, 0.3), box_distance(p, 0.3, 0.95));
    case ShapeClass::ring:
      return std::abs(radius - 0.72) - 0.22;
    case ShapeClass::star:
      return star_distance(p);
    default:
      return radius - 0.9;
  }
}

/// Share of a pixel that lies inside, for a boundary `distance` pixels away.
inline double coverage(double distance) { return std::clamp(0.5 - distance, 0.0, 1.0); }

/// Coverage by stripes of width period / 2 along the second axis.
inline double stripe_coverage(double x, double period) {
  const double to_centre = std::abs(x / period - std::round(x / period)) * period;
  return coverage(to_centre - period / 4);
}

/// Everything random about an image but its noise.
struct ShapeScene {
  ShapeClass shape;
  double radius, angle, period;
  Point centre, phase;
  Colour colour, background, gradient;
  double gradient_angle, noise;

  /// Share of the pixel at (x, y) that the shape covers.
  double covers(Point pixel) const {
    const Point p = rotate({pixel.x - centre.x, pixel.y - centre.y}, angle);
    if (shape < ShapeClass::rows)
      return coverage(radius * solid_distance(shape, {p.x / radius, p.y / radius}));
    const double across = stripe_coverage(p.x + phase.x, period);
    const double disc = coverage(std::hypot(p.x, p.y) - radius);
    if (shape != ShapeClass::checkerboard) return disc * across;
    const double along = stripe_coverage(p.y + phase.y, period);
    return disc * (across * along + (1 - across) * (1 - along));
  }
};

inline double uniform(Rng& rng, double low, double high) { return low + (high - low) * rng.uniform(); }

inline Colour random_colour(Rng& rng) {
  Colour colour;
  for (double& value : colour) value = uniform(rng, 20, 235);
  return colour;
}

inline double brightness(const Colour& colour) { return (colour[0] + colour[1] + colour[2]) / 3; }

/// Draws the colours of the shape and of its background. The shape is always the brighter one: which side of
/// an edge is inside would otherwise be most of what a model has to learn.
inline void choose_colours(ShapeScene& scene, Rng& rng) {
  do {
    scene.background = random_colour(rng);
    scene.colour = random_colour(rng);
    if (brightness(scene.colour) < brightness(scene.background)) std::swap(scene.colour, scene.background);
  } while (brightness(scene.colour) - brightness(scene.background) < 65);
  for (double& value : scene.gradient) value = uniform(rng, -40, 40);
  scene.gradient_angle = uniform(rng, 0, 2 * std::numbers::pi);
  scene.noise = uniform(rng, 3, 16);
}

/// Stripes keep near their own direction, so that rotation never turns one class into another.
inline double random_angle(ShapeClass shape, Rng& rng) {
  using std::numbers::pi;
  const double tilt = uniform(rng, -pi / 15, pi / 15);
  switch (shape) {
    case ShapeClass::rows:
      return pi / 2 + tilt;
    case ShapeClass::columns:
      return tilt;
    case ShapeClass::diagonals:
      return ((rng.bits() & 1U) != 0 ? pi / 4 : -pi / 4) + tilt;
    default:
      return uniform(rng, 0, 2 * pi);
  }
}

inline ShapeScene random_scene(ShapeClass shape, Rng& rng) {
  ShapeScene scene{};
  scene.shape = shape;
  const bool is_pattern = shape >= ShapeClass::rows;
  scene.radius = is_pattern ? uniform(rng, 8, 13) : uniform(rng, 7, 12);
  scene.angle = random_angle(shape, rng);
  scene.period = uniform(rng, 4.5, 6.5);
  scene.phase = {uniform(rng, 0, scene.period), uniform(rng, 0, scene.period)};
  const double margin = 0.85 * scene.radius, size = static_cast<double>(shape_image_size);
  scene.centre = {uniform(rng, margin, size - margin), uniform(rng, margin, size - margin)};
  choose_colours(scene, rng);
  return scene;
}

/// Four values of standard deviation 1, each the sum of four random bytes.
inline std::array<double, 4> noise_values(const Rng::Block& block) {
  std::array<double, 4> values;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::uint32_t word = block[i];
    const std::uint32_t sum = (word & 255U) + (word >> 8 & 255U) + (word >> 16 & 255U) + (word >> 24);
    values[i] = (static_cast<double>(sum) - 510) / 147.8;
  }
  return values;
}

/// Draws one image, [3, 32, 32].
inline void render_scene(const ShapeScene& scene, Rng& rng, std::uint8_t* pixels) {
  constexpr Index size = shape_image_size, plane = size * size;
  constexpr double centre = static_cast<double>(size) / 2;
  Rng::State noise = rng.reserve(plane);
  for (Index i = 0; i < plane; ++i, ++noise.counter) {
    const Index column = i % size, row = i / size;
    const Point pixel{static_cast<double>(column) + 0.5, static_cast<double>(row) + 0.5};
    const double share = scene.covers(pixel);
    const double slope = rotate({pixel.x - centre, pixel.y - centre}, scene.gradient_angle).x / centre;
    const auto grain = noise_values(Rng::at(noise));
    for (std::size_t c = 0; c < 3; ++c) {
      const double background = scene.background[c] + slope * scene.gradient[c];
      const double value = background + share * (scene.colour[c] - background) + scene.noise * grain[c];
      pixels[static_cast<Index>(c) * plane + i] =
          static_cast<std::uint8_t>(std::clamp(value + 0.5, 0.0, 255.0));
    }
  }
}

}  // namespace detail

/// `count` images [3, 32, 32] in ten classes of shapes and patterns of random place, size, direction and
/// colours, brighter than their sloping, noisy background; classes take turns. Image i depends on (seed, i)
/// alone. Throws ConfigError when `count` is not positive.
inline ImageDataset make_shapes(Index count, std::uint64_t seed) {
  if (count < 1) throw ConfigError("shapes", "the count is ", count, ": it must be at least 1");
  ImageDataset images{3, detail::shape_image_size, detail::shape_image_size, {}, {}, {}};
  images.class_names.assign(detail::shape_names.begin(), detail::shape_names.end());
  images.labels.resize(static_cast<std::size_t>(count));
  images.pixels.resize(static_cast<std::size_t>(count * images.image_size()));
  parallel_for(count, 64, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const auto label = static_cast<std::int32_t>(i % images.classes());
      Rng rng = keyed_rng(seed, RandomPurpose::rendering, i);
      const auto scene = detail::random_scene(static_cast<detail::ShapeClass>(label), rng);
      detail::render_scene(scene, rng, images.pixels.data() + i * images.image_size());
      images.labels[static_cast<std::size_t>(i)] = label;
    }
  });
  return images;
}

/// Shapes for training and others for testing: the built-in image data set. Throws ConfigError when a count
/// is not positive.
inline ImageSplit make_shapes_split(Index train, Index test, std::uint64_t seed) {
  ImageSplit split{.train = make_shapes(train, seed),
                   .test = make_shapes(test, Rng(seed).bits64()),
                   .augmentation = {.crop_padding = 2, .horizontal_flip = true},
                   .description = {}};
  std::ostringstream text;
  text << "built-in shapes: " << train << " training and " << test << " test images";
  split.description = text.str();
  return split;
}

}  // namespace exfusion::data
