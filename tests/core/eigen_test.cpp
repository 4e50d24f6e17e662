#include <gtest/gtest.h>

#include <exfusion/eigen.hpp>

namespace exfusion {
namespace {

TEST(Eigen, SeesATensorAsAMatrixOfItsLastAxis) {
  const auto tensor = Tensor<float>::from({2, 1, 3}, {1, 2, 3, 4, 5, 6});
  auto matrix = as_eigen(tensor);
  EXPECT_EQ(matrix.rows(), 2);
  EXPECT_EQ(matrix.cols(), 3);
  EXPECT_EQ(matrix(1, 0), 4);
  matrix(1, 2) = 60;
  EXPECT_EQ(tensor.data()[5], 60);
}

TEST(Eigen, CopiesAnExpressionOfEitherStorageOrder) {
  Eigen::MatrixXd column_major(2, 3);
  column_major << 1, 2, 3, 4, 5, 6;
  const Tensor<double> tensor = from_eigen(2.0 * column_major);
  EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
  for (Index i = 0; i < 6; ++i) EXPECT_EQ(tensor.data()[i], 2.0 * static_cast<double>(i + 1));
  EXPECT_EQ(from_eigen(column_major.transpose()).data()[1], 4);
}

}  // namespace
}  // namespace exfusion
