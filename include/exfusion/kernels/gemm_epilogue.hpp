#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels::detail {

/// What happens to a finished sum on its way into C: C = sum (+ C) (+ bias).
template <Scalar T>
struct GemmEpilogue {
  bool accumulate = false;
  const T* bias = nullptr;  ///< One number for each column of C.
};

}  // namespace exfusion::kernels::detail
