#pragma once

#include <concepts>
#include <cstdint>

#include <exfusion/config.hpp>

namespace exfusion {

/// The element types that every public template accepts.
template <class T>
concept Scalar = std::same_as<T, float> || std::same_as<T, double>;

/// Sizes, offsets and counts of elements.
using Index = std::int64_t;

/// Operations stand in `exfusion::ops` and can be called as `exfusion::name` too.
namespace ops {}
using namespace ops;  // NOLINT(google-build-using-namespace)

}  // namespace exfusion
