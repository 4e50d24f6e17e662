#pragma once

#include <cmath>
#include <utility>

#include <exfusion/kernels/norm.hpp>
#include <exfusion/nn/module.hpp>

namespace exfusion {

/// Euclidean norm of all gradients together, accumulated in double. Experts count with their one dense
/// gradient G, so the norm is that of the dense model (over the experts' own gradients it would be |a| times
/// as large). Parameters without a gradient count as 0. NaN or infinity when a gradient holds one.
template <Scalar T>
double gradient_norm(const ParameterList<T>& list) {
  double sum = 0;
  for (const auto& parameter : list.parameters) {
    const Gradient<T>& gradient = *parameter.tensor.gradient();
    if (gradient.defined) sum += kernels::Norm<T>::sum_of_squares(gradient.data, gradient.size);
  }
  for (const auto& [name, slab] : list.slabs) {
    if (slab.has_gradient()) sum += kernels::Norm<T>::sum_of_squares(slab.gradient(), slab.row_size());
  }
  return std::sqrt(sum);
}

/// Scales all gradients by max_norm / norm when `gradient_norm` is larger than `max_norm`; returns the norm
/// before. A norm that is NaN or infinite is returned and nothing is scaled: the caller decides (for example
/// by `skip_step`). Throws ConfigError when `max_norm` is not positive.
template <Scalar T>
double clip_gradient_norm(const ParameterList<T>& list, double max_norm) {
  if (!(max_norm > 0)) throw ConfigError("clip", "max_norm is ", max_norm, ": it must be positive");
  const double norm = gradient_norm(list);
  if (!std::isfinite(norm) || norm <= max_norm) return norm;
  const T factor = static_cast<T>(max_norm / norm);
  for (const auto& parameter : list.parameters) {
    const Gradient<T>& gradient = *parameter.tensor.gradient();
    if (gradient.defined) kernels::Norm<T>::scale(gradient.data, gradient.size, factor);
  }
  for (const auto& [name, slab] : list.slabs) {
    if (slab.has_gradient()) kernels::Norm<T>::scale(slab.gradient(), slab.row_size(), factor);
  }
  return norm;
}

}  // namespace exfusion
