#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include <exfusion/nn/module.hpp>
#include <exfusion/train/training_state.hpp>

namespace exfusion::train {

/// What a training loop does with a step.
enum class Verdict {
  update,  ///< All is finite.
  skip,    ///< Throw its gradients away and go on with the next batch.
  reload,  ///< Go back to the last good checkpoint.
  stop     ///< Give up.
};

/// Counts a step in `cursor` and decides: bad steps are skipped; `most` of them in a row send the run back to
/// a checkpoint once, where `can_reload` says that there is one, and end it otherwise.
inline Verdict judge_step(bool is_finite, Index most, bool can_reload, RunCursor& cursor) {
  if (is_finite) {
    cursor.bad_steps_in_row = 0;
    return Verdict::update;
  }
  ++cursor.bad_steps;
  if (++cursor.bad_steps_in_row < most) return Verdict::skip;
  return can_reload && !cursor.reloaded ? Verdict::reload : Verdict::stop;
}

namespace detail {
template <Scalar T>
bool all_finite(std::span<const T> values) {
  return std::ranges::all_of(values, [](T value) { return std::isfinite(value); });
}
}  // namespace detail

/// Whether the weights that the experts were fused with in this step are all finite.
template <Scalar T>
bool fusion_weights_are_finite(const ParameterList<T>& list) {
  return std::ranges::all_of(list.slabs,
                             [](const auto& slab) { return detail::all_finite<T>(slab.slab.weights()); });
}

/// Where the numbers that are not finite begin: the name of the first parameter, expert, fusion weight or
/// state that has one, else "the gradient of" the first whose gradient has. Empty when all are finite.
template <Scalar T>
std::string first_not_finite(const ParameterList<T>& list) {
  using Values = std::span<const T>;
  for (const auto& [name, tensor, options] : list.parameters) {
    if (!detail::all_finite<T>(tensor.values())) return name;
  }
  for (const auto& [name, slab] : list.slabs) {
    for (Index i = 0; i < slab.experts(); ++i) {
      if (!detail::all_finite<T>(slab.expert(i))) return name + " (expert " + std::to_string(i) + ")";
    }
    if (!detail::all_finite<T>(slab.weights())) return name + " (fusion weights)";
  }
  for (const auto& [name, state] : list.states) {
    if (!detail::all_finite<T>(state->values())) return name;
  }
  for (const auto& [name, tensor, options] : list.parameters) {
    const Gradient<T>& gradient = *tensor.gradient();
    if (gradient.defined &&
        !detail::all_finite<T>(Values(gradient.data, static_cast<std::size_t>(gradient.size))))
      return "the gradient of " + name;
  }
  for (const auto& [name, slab] : list.slabs) {
    if (slab.has_gradient() &&
        !detail::all_finite<T>(Values(slab.gradient(), static_cast<std::size_t>(slab.row_size()))))
      return "the gradient of " + name;
  }
  return {};
}

}  // namespace exfusion::train
