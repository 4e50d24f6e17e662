#pragma once

#include <cmath>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/kernels/sgd.hpp>
#include <exfusion/optim/optimizer.hpp>

namespace exfusion {

struct SgdOptions {
  double lr = 0.1;
  double momentum = 0.0;
  bool nesterov = false;
  double weight_decay = 0.0;  ///< Coupled L2; applies where ParameterOptions or SlabSegment say decay.
  /// Divides an expert's learning rate by |a|^2 and multiplies its L2 by it, so that constant weights are
  /// exactly dense training with this lr and weight_decay. Without it the fused weights move only with
  /// lr |a|^2: lr / E for uniform weights.
  bool fusion_lr_correction = true;
  std::vector<ParameterGroup> groups = {};
};

/// Stochastic gradient descent with momentum, Nesterov momentum and coupled L2 in PyTorch's formulation
/// (without dampening). Expert i of a slab is updated with the gradient a_i G (docs/optimizers.md). Steps
/// allocate nothing.
template <Scalar T>
class Sgd : public OptimizerBase<T> {
 public:
  /// Trains all parameters, experts and StepStates of `model`. Throws ConfigError for options out of range
  /// and for a group that fits no name.
  template <Module M>
  explicit Sgd(const M& model, SgdOptions options = {})
      : Sgd(collect_parameters<T>(model), std::move(options)) {}

  /// The same for parameters chosen by hand.
  explicit Sgd(ParameterList<T> list, SgdOptions options = {})
      : OptimizerBase<T>("sgd", std::move(list), options.lr, options.weight_decay, options.groups),
        options_(check(std::move(options))) {
    const ParameterList<T>& all = this->parameters();
    for (const auto& parameter : all.parameters) add_buffer(parameter.tensor.size());
    for (std::size_t i = 0; i < all.slabs.size(); ++i) {
      const ExpertSlab<T>& slab = all.slabs[i].slab;
      add_buffer(slab.row_size() * (shares_buffer(i) ? 1 : slab.experts()));
    }
  }

  /// Updates whatever has a gradient, forgets the gradients, and moves the model's StepStates on. Leaves W of
  /// experts ready for the next pass where its weights are known.
  void step() {
    this->for_each_gradient(
        [&](std::size_t i, const Tensor<T>& p, Bfloat16* rounded) {
          kernels::Sgd<T>::update(p.data(), p.gradient()->data, buffers_[i].data(), p.size(),
                                  step_for(this->rates(i), 1), rounded);
        },
        [&](std::size_t i, const ExpertSlab<T>& slab) { update_slab(i, slab); });
  }

  /// Calls `visit(name, span)` for all that a checkpoint must hold, in a fixed order: `<name>.momentum`
  /// (std::span<T>) of each parameter and slab; nothing without momentum. The spans may be written to.
  template <class Visit>
  void visit_state(Visit&& visit) {
    if (options_.momentum == 0) return;
    std::size_t i = 0;
    for (const auto& parameter : this->parameters().parameters) {
      visit(parameter.name + ".momentum", buffers_[i++].span());
    }
    for (const auto& slab : this->parameters().slabs) {
      visit(slab.name + ".momentum", buffers_[i++].span());
    }
  }

 private:
  using Rates = typename OptimizerBase<T>::Rates;

  static SgdOptions check(SgdOptions options) {
    detail::check_option("sgd", "momentum", options.momentum, options.momentum >= 0 && options.momentum < 1,
                         "in [0, 1)");
    if (options.nesterov && options.momentum == 0) {
      throw ConfigError("sgd", "nesterov is set with momentum 0: Nesterov needs a momentum");
    }
    return options;
  }

  void add_buffer(Index size) { buffers_.push_back(Buffer<T>::zeros(options_.momentum == 0 ? 0 : size)); }

  /// Momenta are multiples of one only while L2 does not mix the experts' own values into them.
  bool shares_buffer(std::size_t slab) const {
    return this->parameters().slabs[slab].slab.constant_weights() && this->slab_rates(slab).weight_decay == 0;
  }

  /// For experts with the squared norm |a|^2 of their weights; 1 for a dense parameter.
  kernels::SgdStep<T> step_for(const Rates& rates, double norm) const {
    const double correction = options_.fusion_lr_correction && norm > 0 ? norm : 1.0;
    return {.rate = static_cast<T>(this->learning_rate() * rates.lr_multiplier / correction),
            .decay = static_cast<T>(rates.weight_decay * correction),
            .momentum = static_cast<T>(options_.momentum),
            .nesterov = options_.nesterov};
  }

  void update_slab(std::size_t i, const ExpertSlab<T>& slab) {
    const T* gradient = slab.gradient();
    T* buffer = buffers_[this->parameters().parameters.size() + i].data();
    this->update_experts(slab, [&](const FusionSpan& span) {
      Rates rates = this->slab_rates(i);
      if (!span.decay) rates.weight_decay = 0;
      update_span(slab, span, gradient + span.begin, buffer == nullptr ? nullptr : buffer + span.begin, rates,
                  shares_buffer(i));
    });
  }

  void update_span(const ExpertSlab<T>& slab, const FusionSpan& span, const T* g, T* buffer,
                   const Rates& rates, bool shared) const {
    const Index experts = slab.experts(), row = slab.row_size();
    const T* a = slab.weights().data() + span.group * experts;
    double norm = 0;
    for (Index i = 0; i < experts; ++i) norm += static_cast<double>(a[i]) * static_cast<double>(a[i]);
    const kernels::SgdStep<T> step = step_for(rates, norm);
    T* p = slab.data() + span.begin;
    if (buffer != nullptr && shared) {
      kernels::Sgd<T>::update_experts(p, row, a, experts, g, buffer, span.size, step);
      return;
    }
    for (Index i = 0; i < experts; ++i) {
      T* own = buffer == nullptr ? nullptr : buffer + i * row;
      kernels::Sgd<T>::update_expert(p + i * row, g, a[i], own, span.size, step);
    }
  }

  SgdOptions options_;
  std::vector<Buffer<T>> buffers_;
};

}  // namespace exfusion
