#pragma once

#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include <exfusion/core/error.hpp>
#include <exfusion/core/int_tensor.hpp>

namespace exfusion::detail {

/// Element `position` of a tensor as it would be indexed: "[2, 0]".
inline std::string place_in(const Shape& shape, Index position) {
  std::ostringstream text;
  Index stride = shape.size();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    stride /= shape[axis];
    text << (axis == 0 ? "[" : ", ") << position / stride;
    position %= stride;
  }
  if (shape.rank() > 0) text << ']';
  return text.str();
}

/// Throws Error naming the first id outside [0, limit) and its place; `exempt` is allowed too.
inline void check_ids(std::string_view operation, std::string_view what, const IntTensor& ids, Index limit,
                      std::optional<std::int32_t> exempt = {}) {
  if (ids.size() != ids.shape().size()) throw ShapeError(operation, what, " has no values");
  for (Index i = 0; i < ids.size(); ++i) {
    const std::int32_t id = ids.data()[i];
    if ((id >= 0 && id < limit) || id == exempt) continue;
    throw Error(operation, what, place_in(ids.shape(), i), " is ", id, ": it must lie in [0, ", limit, ")");
  }
}

}  // namespace exfusion::detail
