#include <algorithm>
#include <set>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/data/shapes.hpp>

#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

TEST(Shapes, AreTenBalancedClassesOf32x32Colours) {
  const auto images = make_shapes(30, 1);
  EXPECT_EQ(images.count(), 30);
  EXPECT_EQ(images.classes(), 10);
  EXPECT_EQ(images.image_size(), 3072);
  for (Index i = 0; i < 30; ++i) EXPECT_EQ(images.labels[static_cast<std::size_t>(i)], i % 10);
  EXPECT_THROW(make_shapes(0, 1), ConfigError);
}

TEST(Shapes, AreTheSameToTheBitForTheSameSeedAndAnyNumberOfThreads) {
  const int kept = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto once = make_shapes(200, 5);
  omp_set_num_threads(3);
  const auto again = make_shapes(200, 5);
  omp_set_num_threads(kept);
  EXPECT_EQ(once.pixels, again.pixels);
  EXPECT_NE(once.pixels, make_shapes(200, 6).pixels);
  const auto fewer = make_shapes(70, 5);
  EXPECT_TRUE(std::equal(fewer.pixels.begin(), fewer.pixels.end(), once.pixels.begin()));
}

TEST(Shapes, DifferFromOneAnotherAndBetweenTheParts) {
  const auto split = make_shapes_split(300, 300, 2);
  std::set<std::string> seen;
  for (const auto* part : {&split.train, &split.test}) {
    for (Index i = 0; i < 300; ++i) seen.insert({part->image(i).begin(), part->image(i).end()});
  }
  EXPECT_EQ(seen.size(), 600U);
  EXPECT_EQ(split.description, "built-in shapes: 300 training and 300 test images");
}

// How much of an image its shape covers, in pixels.
double area(const detail::ShapeScene& scene) {
  double sum = 0;
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 32; ++x) sum += scene.covers({x + 0.5, y + 0.5});
  }
  return sum;
}

TEST(Shapes, CoverTheAreaOfTheirGeometry) {
  using detail::ShapeClass;
  constexpr double pi = 3.14159265358979;
  const double star = 5 * 0.42 * std::sin(pi / 5);
  const std::pair<ShapeClass, double> expected[] = {{ShapeClass::circle, 0.81 * pi},
                                                    {ShapeClass::square, 4 * 0.78 * 0.78},
                                                    {ShapeClass::triangle, 0.75 * std::sqrt(3.0)},
                                                    {ShapeClass::cross, 4 * (2 * 0.95 * 0.3 - 0.3 * 0.3)},
                                                    {ShapeClass::ring, 4 * pi * 0.72 * 0.22},
                                                    {ShapeClass::star, star},
                                                    {ShapeClass::rows, pi / 2},
                                                    {ShapeClass::checkerboard, pi / 2}};
  Rng rng(1);
  for (const auto& [shape, unit_area] : expected) {
    for (int trial = 0; trial < 20; ++trial) {
      auto scene = detail::random_scene(shape, rng);
      scene.centre = {16, 16};
      const double radius = scene.radius, tolerance = shape < ShapeClass::rows ? 0.03 : 0.12;
      EXPECT_NEAR(area(scene) / (radius * radius), unit_area, tolerance * unit_area)
          << detail::shape_names[static_cast<std::size_t>(shape)] << " of radius " << radius;
    }
  }
}

TEST(Shapes, AreBrighterThanTheirBackground) {
  Rng rng(2);
  for (int i = 0; i < 500; ++i) {
    const auto scene = detail::random_scene(static_cast<detail::ShapeClass>(i % 10), rng);
    EXPECT_GE(detail::brightness(scene.colour) - detail::brightness(scene.background), 65);
    EXPECT_GT(area(scene), 25);
  }
}

}  // namespace
}  // namespace exfusion::data
