#pragma once

#include <algorithm>

#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels::detail {

/// How many parts of `part` > 0 it takes for `size`.
constexpr Index ceil_divide(Index size, Index part) { return (size + part - 1) / part; }

/// The size of about equal parts of `size`, in whole units and at least one; none is above `most` by a unit.
constexpr Index even_part(Index size, Index most, Index unit) {
  const Index parts = std::max<Index>(ceil_divide(size, most), 1);
  return std::max<Index>(ceil_divide(size, parts * unit), 1) * unit;
}

}  // namespace exfusion::kernels::detail
