#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <ranges>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/kernels/ema.hpp>
#include <exfusion/nn/module.hpp>

namespace exfusion {

struct EmaOptions {
  double decay = 0.999;
  /// Whether the decay starts lower: min(decay, (1 + t) / (10 + t)) after t updates.
  bool warmup = true;
};

namespace detail {

/// A module that is exported as the dense weights it amounts to, such as ExFusionFFN.
template <class M, class T>
concept ExportsFused = requires(const M& module) {
  module.visit_fused([](const SlabSegment&, const Tensor<T>&) {});
};

/// Calls `visit(tensor)` for all that is exported of one field, in the order of the fields, without making
/// names: for use in every step.
template <Scalar T, class Field, class Visit>
void for_each_exported(const Field& field, const Visit& visit) {
  if constexpr (std::same_as<Field, Parameter<T>>) {
    if (field && !field.options().fusion) visit(field);
  } else if constexpr (ExportsFused<Field, T>) {
    field.visit_fused([&](const SlabSegment&, const Tensor<T>& part) { visit(part); });
  } else if constexpr (Module<const Field>) {
    Field::fields(field, [&](const auto&, const auto& inner) { for_each_exported<T>(inner, visit); });
  } else if constexpr (std::ranges::range<const Field>) {
    for (const auto& element : field) for_each_exported<T>(element, visit);
  }
}

/// The same with names: those that the parameters have in the exported model.
template <Scalar T, class Visit>
struct VisitExported {
  const Visit& visit;

  void operator()(const std::string& name, const Parameter<T>& parameter) const {
    if (parameter && !parameter.options().fusion) visit(name, parameter);
  }
  template <ExportsFused<T> M>
  void operator()(const std::string& name, const M& module) const {
    module.visit_fused(
        [&](const SlabSegment& segment, const Tensor<T>& part) { visit(name + "." + segment.name, part); });
  }
  void operator()(const std::string& name, const ExpertSlab<T>&) const {
    throw ConfigError("ema", "'", name,
                      "' are experts of a module without visit_fused: no average is defined");
  }
};

}  // namespace detail

/// Exponential moving averages of what a model exports: its parameters, and for fused experts only W with
/// the export weights. A fusion rule's own parameters are left out. Copies deeply.
template <Scalar T>
class Ema {
 public:
  /// The averages start at the model's present values. Throws ConfigError when `decay` is not in [0, 1) or
  /// experts stand in a module that does not say what they amount to.
  template <Module M>
  explicit Ema(const M& model, EmaOptions options = {}) : options_(options) {
    if (!(options.decay >= 0 && options.decay < 1)) {
      throw ConfigError("ema", "decay is ", options.decay, ": it must be in [0, 1)");
    }
    const auto add = [&](const std::string& name, const Tensor<T>& tensor) {
      averages_.push_back({name, tensor.shape(), Buffer<T>(tensor.size())});
      std::ranges::copy(tensor.values(), averages_.back().values.data());
    };
    walk(model, detail::VisitExported<T, decltype(add)>{add});
  }

  /// average = decay * average + (1 - decay) * value, once per optimizer step. Throws ShapeError when this is
  /// not a model of the same structure.
  template <Module M>
  void update(const M& model) {
    const auto t = static_cast<double>(updates_);
    const double decay = options_.warmup ? std::min(options_.decay, (1 + t) / (10 + t)) : options_.decay;
    std::size_t i = 0;
    detail::for_each_exported<T>(model, [&](const Tensor<T>& tensor) {
      check_fits(i, tensor.shape());
      kernels::Ema<T>::update(averages_[i].values.data(), tensor.data(), tensor.size(),
                              static_cast<T>(1 - decay));
      ++i;
    });
    check_count(i);
    ++updates_;
  }

  /// Overwrites a dense model's parameters with the averages: the model itself where it has no experts, or
  /// the result of `collapse`. Throws ConfigError when it has experts, ShapeError when a name or shape
  /// differs from the average's; nothing is written then.
  template <Module M>
  void copy_to(M& dense) const {
    ParameterList<T> list = collect_parameters<T>(dense);
    if (!list.slabs.empty()) {
      throw ConfigError("ema", "'", list.slabs[0].name, "' are experts: copy into the collapsed model");
    }
    std::erase_if(list.parameters, [](const auto& parameter) { return parameter.options.fusion; });
    for (std::size_t i = 0; i < list.parameters.size(); ++i) {
      const auto& [name, tensor, how] = list.parameters[i];
      check_fits(i, tensor.shape());
      if (name == averages_[i].name) continue;
      throw ShapeError("ema", "parameter ", i, " is '", name, "': its average is that of '",
                       averages_[i].name, "'");
    }
    check_count(list.parameters.size());
    for (std::size_t i = 0; i < list.parameters.size(); ++i) {
      std::ranges::copy(averages_[i].values.span(), list.parameters[i].tensor.data());
      list.parameters[i].tensor.set_changed();
    }
  }

  /// Number of updates so far.
  Index updates() const { return updates_; }

  /// Calls `visit(name, span)` for all that a checkpoint must hold, in a fixed order: "updates"
  /// (std::span<std::int64_t>), then `<parameter>.average` (std::span<T>). The spans may be written to.
  template <class Visit>
  void visit_state(Visit&& visit) {
    visit(std::string("updates"), std::span<std::int64_t>(&updates_, 1));
    for (Average& average : averages_) visit(average.name + ".average", average.values.span());
  }

 private:
  struct Average {
    std::string name;
    Shape shape;
    Buffer<T> values;
  };

  void check_fits(std::size_t i, Shape shape) const {
    if (i >= averages_.size()) check_count(i + 1);
    if (shape == averages_[i].shape) return;
    throw ShapeError("ema", "parameter ", i, " is ", shape, ": the average of '", averages_[i].name, "' is ",
                     averages_[i].shape);
  }

  void check_count(std::size_t count) const {
    if (count == averages_.size()) return;
    throw ShapeError("ema", "the model has ", count, count > averages_.size() ? " or more" : "",
                     " parameters to average: there are ", averages_.size(), " averages");
  }

  EmaOptions options_;
  std::int64_t updates_ = 0;
  std::vector<Average> averages_;
};

}  // namespace exfusion
