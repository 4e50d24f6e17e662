#pragma once

#include <initializer_list>
#include <string_view>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::detail {

/// Throws ConfigError unless value >= 1.
inline void check_positive(std::string_view model, std::string_view name, Index value) {
  if (value < 1) throw ConfigError(model, name, " = ", value, ": it must be at least 1");
}

/// Throws ConfigError unless `divisor` divides `value`; both are positive.
inline void check_divides(std::string_view model, std::string_view name, Index value,
                          std::string_view divisor_name, Index divisor) {
  if (value % divisor != 0) {
    throw ConfigError(model, name, " = ", value, " is not divisible by ", divisor_name, " = ", divisor);
  }
}

/// Throws ConfigError unless 0 <= value < 1; NaN is refused too.
inline void check_probability(std::string_view model, std::string_view name, double value) {
  if (!(value >= 0 && value < 1)) throw ConfigError(model, name, " = ", value, ": it must be in [0, 1)");
}

/// Throws ConfigError unless value > 0; NaN is refused too.
inline void check_epsilon(std::string_view model, double value) {
  if (!(value > 0)) throw ConfigError(model, "layer_norm_eps = ", value, ": it must be positive");
}

/// Throws ConfigError when an array of these sizes could not be addressed.
inline void check_size(std::string_view model, std::string_view name, std::initializer_list<Index> sizes) {
  constexpr double limit = 0x1p44;
  double product = 1;
  for (Index size : sizes) product *= static_cast<double>(size);
  if (product > limit) {
    throw ConfigError(model, name, " would hold ", product, " numbers: more than 2^44");
  }
}

}  // namespace exfusion::detail
