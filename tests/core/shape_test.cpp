#include <sstream>

#include <gtest/gtest.h>

#include <exfusion/core/shape.hpp>

namespace exfusion {
namespace {

TEST(Shape, CountsElementsRowsAndColumns) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.size(), 30);
  EXPECT_EQ(shape.rows(), 6);
  EXPECT_EQ(shape.columns(), 5);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[-3], 2);
}

TEST(Shape, OfAScalarHasOneElement) {
  const Shape scalar;
  EXPECT_EQ(scalar.rank(), 0);
  EXPECT_EQ(scalar.size(), 1);
  EXPECT_EQ(scalar.rows(), 1);
  EXPECT_EQ(scalar.columns(), 1);
}

TEST(Shape, MayHaveEmptyAxes) {
  EXPECT_EQ((Shape{0, 4}).size(), 0);
  EXPECT_EQ((Shape{3, 0}).rows(), 3);
}

TEST(Shape, ChangesOrAppendsTheLastAxis) {
  EXPECT_EQ((Shape{2, 3}).with_columns(7), (Shape{2, 7}));
  EXPECT_EQ(Shape{}.with_columns(7), Shape{});
  EXPECT_EQ((Shape{2, 3}).with_appended(7), (Shape{2, 3, 7}));
  EXPECT_EQ(Shape{}.with_appended(7), Shape{7});
  EXPECT_THROW((Shape{1, 2, 3, 4}).with_appended(5), ShapeError);
}

TEST(Shape, ComparesAxesAndRank) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{2}), (Shape{2, 1}));
  EXPECT_NE((Shape{}), (Shape{0}));
}

TEST(Shape, IsPrintedInBrackets) {
  std::ostringstream text;
  text << Shape{8, 16, 63} << Shape{};
  EXPECT_EQ(text.str(), "[8, 16, 63][]");
}

TEST(Shape, RejectsNegativeSizesFiveAxesAndAxesThatDoNotExist) {
  EXPECT_THROW((Shape{2, -1}), ShapeError);
  EXPECT_THROW((Shape{1, 2, 3, 4, 5}), ShapeError);
  EXPECT_THROW((Shape{2, 3})[2], ShapeError);
  EXPECT_THROW((Shape{2, 3})[-3], ShapeError);
  EXPECT_THROW(Shape{}[0], ShapeError);
}

TEST(Shape, RejectsSizesThatOverflow) {
  constexpr Index large = Index{1} << 32;
  EXPECT_THROW((Shape{large, large, 16}), ShapeError);
  EXPECT_THROW((Shape{large, large, 0}), ShapeError);
  EXPECT_THROW((Shape{0, large, large}), ShapeError);
  EXPECT_THROW((Shape{Index{1} << 58}), ShapeError);
  EXPECT_THROW((Shape{large, 2}).with_columns(large), ShapeError);
  EXPECT_THROW((Shape{large}).with_appended(large), ShapeError);
  EXPECT_EQ((Shape{(Index{1} << 58) - 1}).size(), (Index{1} << 58) - 1);
  EXPECT_EQ((Shape{large, Index{1} << 25}).size(), Index{1} << 57);
}

}  // namespace
}  // namespace exfusion
