#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/fuse.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/optim/parameter_group.hpp>

namespace exfusion {

namespace detail {

inline void check_option(std::string_view where, std::string_view option, double value, bool valid,
                         std::string_view limit) {
  if (!valid) throw ConfigError(where, option, " is ", value, ": it must be ", limit);
}

inline void check_not_negative(std::string_view where, std::string_view option, double value) {
  check_option(where, option, value, value >= 0 && std::isfinite(value), "finite and not negative");
}

}  // namespace detail

/// What all optimizers have in common: the parameters, their learning rates and decays, and the order of a
/// step. Holds handles onto the model's parameters, so the model may be moved; a copy of it is not trained.
template <Scalar T>
class OptimizerBase {
 public:
  const ParameterList<T>& parameters() const { return list_; }

  double learning_rate() const { return learning_rate_; }
  /// Learning rate of the steps to come. Throws ConfigError when it is negative or not finite.
  void set_learning_rate(double lr) {
    detail::check_not_negative(name_, "lr", lr);
    learning_rate_ = lr;
  }

  /// Throws the step's gradients away, and what the model's StepStates observed; nothing else changes.
  void skip_step() { list_.discard_gradients(); }

 protected:
  struct Rates {
    double lr_multiplier = 1;
    double weight_decay = 0;
  };

  /// Throws ConfigError when `list` is empty, a number is negative or a group fits no name.
  OptimizerBase(std::string_view name, ParameterList<T> list, double lr, double weight_decay,
                const std::vector<ParameterGroup>& groups)
      : name_(name), list_(std::move(list)), learning_rate_(lr) {
    set_learning_rate(lr);
    detail::check_not_negative(name, "weight_decay", weight_decay);
    if (list_.parameters.empty() && list_.slabs.empty()) {
      throw ConfigError(name, "the model has no parameters of this scalar type");
    }
    std::vector<bool> used(groups.size(), false);
    for (const auto& parameter : list_.parameters) {
      Rates rates = choose(groups, used, parameter.name, weight_decay);
      rates.lr_multiplier *= parameter.options.lr_multiplier;
      if (!parameter.options.decay) rates.weight_decay = 0;
      rates_.push_back(rates);
    }
    for (const auto& slab : list_.slabs) slab_rates_.push_back(choose(groups, used, slab.name, weight_decay));
    check_groups(groups, used);
  }

  const Rates& rates(std::size_t parameter) const { return rates_[parameter]; }
  const Rates& slab_rates(std::size_t slab) const { return slab_rates_[slab]; }

  /// One step: `update(i, parameter, rounded)` for whatever has a gradient, which is then forgotten;
  /// `rounded`, if not null, wants the new values in bfloat16. Then the states move on; then `update_slab(i,
  /// slab)`, so that the weights of the next pass are known where they can be.
  template <class Update, class UpdateSlab>
  void for_each_gradient(const Update& update, const UpdateSlab& update_slab) {
    for (std::size_t i = 0; i < list_.parameters.size(); ++i) {
      const Tensor<T>& parameter = list_.parameters[i].tensor;
      if (!parameter.gradient()->defined) continue;
      RoundedCopy* copy = parameter.rounded_copy();
      const bool rounds = copy != nullptr && copy->is_made();
      update(i, parameter, rounds ? copy->values.data() : nullptr);
      if (rounds) copy->is_current = true;
      parameter.gradient()->clear();
    }
    for (const auto& state : list_.states) state.state->end_step();
    for (std::size_t i = 0; i < list_.slabs.size(); ++i) {
      const ExpertSlab<T>& slab = list_.slabs[i].slab;
      if (!slab.has_gradient()) continue;
      update_slab(i, slab);
      slab.clear_gradient();
    }
  }

  /// Calls `update(part)`, which changes the experts there, for parts of all spans, in parallel. Where the
  /// weights of the next pass are known, W is summed up (and rounded for who wants it in bfloat16) on the
  /// way, while the rows are in the cache.
  template <class UpdatePart>
  static void update_experts(const ExpertSlab<T>& slab, const UpdatePart& update) {
    const FusionLayout layout = slab.layout();
    const bool fuse = slab.load_next_weights();
    const auto count = static_cast<Index>(layout.spans.size());
    const Index elements = std::max<Index>(1, layout.row_size * layout.experts);
    const Index grain = std::max<Index>(1, least_work * count / elements);
    parallel_for(count, grain, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        for_each_part(layout.spans[static_cast<std::size_t>(i)], [&](const FusionSpan& part) {
          update(part);
          if (!fuse) return;
          kernels::Fuse<T>::forward_part(layout, part, slab.data(), slab.fused_weights().data(),
                                         slab.fused());
          slab.round_fused(part);
        });
      }
    });
    slab.set_fused(fuse);
    if (fuse) slab.set_rounded();
  }

 private:
  static constexpr Index least_work = 262144;  // elements; spans are tiny where each row has its own weight
  static constexpr Index part_size = 64;       // short, so that the fetching of all experts' rows overlaps

  template <class Body>
  static void for_each_part(const FusionSpan& span, const Body& body) {
    for (Index done = 0; done < span.size; done += part_size) {
      body({span.begin + done, std::min(part_size, span.size - done), span.group, span.decay});
    }
  }

  static Rates choose(const std::vector<ParameterGroup>& groups, std::vector<bool>& used,
                      std::string_view name, double weight_decay) {
    const auto group = std::ranges::find_if(groups, [&](const auto& g) { return g.fits(name); });
    if (group == groups.end()) return {1.0, weight_decay};
    used[static_cast<std::size_t>(group - groups.begin())] = true;
    return {group->lr_multiplier, group->weight_decay.value_or(weight_decay)};
  }

  void check_groups(const std::vector<ParameterGroup>& groups, const std::vector<bool>& used) const {
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const ParameterGroup& group = groups[i];
      detail::check_not_negative(name_, "a group's lr_multiplier", group.lr_multiplier);
      detail::check_not_negative(name_, "a group's weight_decay", group.weight_decay.value_or(0));
      if (!used[i]) {
        throw ConfigError(name_, "group '", group.pattern, "' decides for no parameter: check its pattern");
      }
    }
  }

  std::string_view name_;
  ParameterList<T> list_;
  std::vector<Rates> rates_;
  std::vector<Rates> slab_rates_;
  double learning_rate_;
};

}  // namespace exfusion
