#pragma once

#include <string_view>

#include <exfusion/core/error.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::ops {

/// Throws ShapeError, naming the operation, unless x [..., d_in], weight [d_out, d_in] and bias [d_out] (or
/// none) fit together.
template <Scalar T>
void check_linear(std::string_view operation, const Shape& x, const Tensor<T>& weight,
                  const Tensor<T>& bias) {
  if (weight.shape().rank() != 2) {
    throw ShapeError(operation, "weight is ", weight.shape(), ": it must be [d_out, d_in]");
  }
  const Index d_out = weight.shape()[0], d_in = weight.shape()[1];
  if (x.rank() < 1 || x[-1] != d_in) {
    throw ShapeError(operation, "x is ", x, ": its last axis must be d_in = ", d_in);
  }
  if (bias && bias.shape() != Shape{d_out}) {
    throw ShapeError(operation, "bias is ", bias.shape(), ": it must be [d_out] = ", Shape{d_out});
  }
}

}  // namespace exfusion::ops
