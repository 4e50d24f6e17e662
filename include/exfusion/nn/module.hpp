#pragma once

#include <concepts>
#include <memory>
#include <ranges>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/autograd/parameter.hpp>
#include <exfusion/autograd/step_state.hpp>
#include <exfusion/core/error.hpp>

namespace exfusion {

namespace detail {
struct IgnoreFields {
  template <class Field>
  void operator()(const std::string&, Field&&) const {}
};
}  // namespace detail

/// A struct that names its fields: `static void fields(auto& self, auto&& visit)` calls
/// `visit("weight", self.weight)` for each parameter, sub-module, list of sub-modules and other saved state.
/// The order of the calls fixes the order of checkpoints and optimizer state.
template <class M>
concept Module = requires(M& module) {
  std::remove_cvref_t<M>::fields(module, detail::IgnoreFields{});
};

namespace detail {

template <class M, class Visit>
void walk_fields(M& module, const std::string& prefix, std::set<std::string>& seen, Visit& visit);

template <class Field, class Visit>
void walk_field(const std::string& name, Field& field, std::set<std::string>& seen, Visit& visit) {
  if constexpr (std::invocable<Visit&, const std::string&, Field&>) {
    if (!seen.insert(name).second) throw ConfigError("walk", "the field name '", name, "' occurs twice");
    visit(name, field);
  } else if constexpr (Module<Field>) {
    walk_fields(field, name + ".", seen, visit);
  } else if constexpr (std::ranges::range<Field>) {
    Index i = 0;
    for (auto& element : field) walk_field(name + "." + std::to_string(i++), element, seen, visit);
  }
}

template <class M, class Visit>
void walk_fields(M& module, const std::string& prefix, std::set<std::string>& seen, Visit& visit) {
  std::remove_cvref_t<M>::fields(
      module, [&](const std::string& name, auto& field) { walk_field(prefix + name, field, seen, visit); });
}

}  // namespace detail

/// Walks a module depth first and calls `visit(name, field)` with dotted names ("blocks.3.ffn.up.weight") for
/// every field that `visit` can be called with; it descends into the others. So `visit` decides by its
/// constraints what is a leaf. Throws ConfigError when a name occurs twice.
template <class M, class Visit>
void walk(M& module, Visit visit) {
  std::set<std::string> seen;
  detail::walk_fields(module, "", seen, visit);
}

/// One named parameter of a model: a shared handle, so it stays valid when the model is moved or destroyed.
template <Scalar T>
struct NamedParameter {
  std::string name;
  Tensor<T> tensor;
  ParameterOptions options;
};

template <Scalar T>
struct NamedSlab {
  std::string name;
  ExpertSlab<T> slab;
};

template <Scalar T>
struct NamedState {
  std::string name;
  std::shared_ptr<StepState<T>> state;
};

/// Handles onto all that training changes in a model, in the order of its fields.
template <Scalar T>
struct ParameterList {
  std::vector<NamedParameter<T>> parameters;
  std::vector<NamedSlab<T>> slabs;
  std::vector<NamedState<T>> states;

  /// Forgets all gradients, and what the states observed, since the last optimizer step.
  void discard_gradients() const {
    for (const auto& parameter : parameters) parameter.tensor.gradient()->clear();
    for (const auto& slab : slabs) slab.slab.clear_gradient();
    for (const auto& state : states) state.state->skip_step();
  }
};

namespace detail {
template <Scalar T>
struct CollectParameters {
  ParameterList<T>& list;
  void operator()(const std::string& name, const Parameter<T>& parameter) const {
    if (parameter) list.parameters.push_back({name, parameter, parameter.options()});
  }
  void operator()(const std::string& name, const ExpertSlab<T>& slab) const {
    list.slabs.push_back({name, slab.share()});
  }
  void operator()(const std::string& name, const StepStateField<T> auto& field) const {
    list.states.push_back({name, field.share()});
  }
};
}  // namespace detail

/// Collects handles onto a model's parameters, expert slabs and states. Throws ConfigError when two fields
/// have the same name.
template <Scalar T, Module M>
ParameterList<T> collect_parameters(const M& model) {
  ParameterList<T> list;
  walk(model, detail::CollectParameters<T>{list});
  return list;
}

/// Number of trained parameters: all experts and fusion weights count.
template <Scalar T, Module M>
Index parameter_count(const M& model) {
  const ParameterList<T> list = collect_parameters<T>(model);
  Index count = 0;
  for (const auto& parameter : list.parameters) count += parameter.tensor.size();
  for (const auto& [name, slab] : list.slabs) {
    for (const auto& segment : slab.segments()) count += slab.experts() * segment.shape.size();
  }
  return count;
}

/// Number of parameters after `collapse`: one dense FFN for each slab, no fusion weights.
template <Scalar T, Module M>
Index exported_parameter_count(const M& model) {
  const ParameterList<T> list = collect_parameters<T>(model);
  Index count = 0;
  for (const auto& parameter : list.parameters) {
    if (!parameter.options.fusion) count += parameter.tensor.size();
  }
  for (const auto& [name, slab] : list.slabs) {
    for (const auto& segment : slab.segments()) count += segment.shape.size();
  }
  return count;
}

}  // namespace exfusion
