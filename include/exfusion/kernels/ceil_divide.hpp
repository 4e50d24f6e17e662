#pragma once

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels::detail {

/// How many parts of `part` > 0 it takes for `size`.
constexpr Index ceil_divide(Index size, Index part) { return (size + part - 1) / part; }

}  // namespace exfusion::kernels::detail
