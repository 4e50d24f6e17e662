#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <exfusion/kernels/adamw.hpp>
#include <exfusion/kernels/bf16_moments.hpp>
#include <exfusion/optim/optimizer.hpp>

namespace exfusion {

struct AdamWOptions {
  double lr = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.1;  ///< Decoupled; applies where ParameterOptions or SlabSegment say decay.
  /// Whether the moments of experts with a state each are kept in bfloat16 (docs/optimizers.md): half the
  /// memory and traffic. Parameters, and experts with constant weights, keep theirs in T.
  bool bf16_moments = false;
  std::vector<ParameterGroup> groups = {};
};

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101) in PyTorch's formulation: p *= 1 - lr wd, then
/// p -= lr mhat / (sqrt(vhat) + eps). Expert i of a slab is updated with the gradient a_i G and eps |a_i|,
/// which makes constant weights exactly dense AdamW on the fused weights (docs/optimizers.md); all of its
/// state is then one m and v of the dense size. Steps allocate nothing.
template <Scalar T>
class AdamW : public OptimizerBase<T> {
 public:
  /// Trains all parameters, experts and StepStates of `model`. Throws ConfigError for options out of range
  /// and for a group that fits no name.
  template <Module M>
  explicit AdamW(const M& model, AdamWOptions options = {})
      : AdamW(collect_parameters<T>(model), std::move(options)) {}

  /// The same for parameters chosen by hand.
  explicit AdamW(ParameterList<T> list, AdamWOptions options = {})
      : OptimizerBase<T>("adamw", std::move(list), options.lr, options.weight_decay, options.groups),
        options_(check(std::move(options))) {
    for (const auto& parameter : this->parameters().parameters) add_moments(parameter.tensor.size(), false);
    for (const auto& [name, slab] : this->parameters().slabs) {
      const bool shared = slab.constant_weights();
      add_moments(slab.row_size() * (shared ? 1 : slab.experts()), options_.bf16_moments && !shared);
    }
    steps_.resize(moments_.size(), 0);
  }

  /// Updates whatever has a gradient, forgets the gradients, and moves the model's StepStates on. Leaves W of
  /// experts ready for the next pass where its weights are known.
  void step() {
    const std::size_t parameter_count = this->parameters().parameters.size();
    this->for_each_gradient(
        [&](std::size_t i, const Tensor<T>& p, Bfloat16* rounded) {
          const auto step = next_step(i, this->rates(i));
          kernels::AdamW<T>::update(p.data(), p.gradient()->data, moments_[i].m.data(), moments_[i].v.data(),
                                    p.size(), step, rounded);
        },
        [&](std::size_t i, const ExpertSlab<T>& slab) {
          const auto step = next_step(parameter_count + i, this->slab_rates(i));
          const auto t = static_cast<std::uint32_t>(steps_[parameter_count + i]);
          update_slab(slab, moments_[parameter_count + i], step, kernels::rounding_seed(t));
        });
  }

  /// Calls `visit(name, span)` for all that a checkpoint must hold, in a fixed order: "steps"
  /// (std::span<std::int64_t>, the number of updates of each parameter and slab), then `<name>.m` and
  /// `<name>.v` (std::span<T>) of each, or `<name>.bf16_moments` (std::span<std::uint32_t>, the bits of
  /// kernels::Bf16Moments) where they are kept so. The spans may be written to.
  template <class Visit>
  void visit_state(Visit&& visit) {
    visit(std::string("steps"), std::span<std::int64_t>(steps_));
    std::size_t i = 0;
    const auto visit_moments = [&](const std::string& name) {
      Moments& moments = moments_[i++];
      if (moments.bf16.size() > 0) return visit(name + ".bf16_moments", moments.bf16.span());
      visit(name + ".m", moments.m.span());
      visit(name + ".v", moments.v.span());
    };
    for (const auto& parameter : this->parameters().parameters) visit_moments(parameter.name);
    for (const auto& slab : this->parameters().slabs) visit_moments(slab.name);
  }

 private:
  struct Moments {
    Buffer<T> m, v;
    Buffer<std::uint32_t> bf16;  ///< Instead of m and v: bits of kernels::Bf16Moments.
  };

  static AdamWOptions check(AdamWOptions options) {
    const auto check_beta = [](std::string_view name, double beta) {
      detail::check_option("adamw", name, beta, beta >= 0 && beta < 1, "in [0, 1)");
    };
    check_beta("beta1", options.beta1);
    check_beta("beta2", options.beta2);
    detail::check_option("adamw", "eps", options.eps, options.eps > 0 && std::isfinite(options.eps),
                         "finite and positive");
    return options;
  }

  void add_moments(Index size, bool bf16) {
    const Index in_full = bf16 ? 0 : size;
    moments_.push_back(
        {Buffer<T>::zeros(in_full), Buffer<T>::zeros(in_full), Buffer<std::uint32_t>::zeros(size - in_full)});
  }

  kernels::AdamWStep<T> next_step(std::size_t i, const typename OptimizerBase<T>::Rates& rates) {
    const auto t = static_cast<double>(++steps_[i]);
    const double lr = this->learning_rate() * rates.lr_multiplier;
    const auto cast = [](double value) { return static_cast<T>(value); };
    return {.beta1 = cast(options_.beta1),
            .new1 = cast(1 - options_.beta1),
            .beta2 = cast(options_.beta2),
            .new2 = cast(1 - options_.beta2),
            .rate = cast(lr / (1 - std::pow(options_.beta1, t))),
            .root_scale = cast(1 / std::sqrt(1 - std::pow(options_.beta2, t))),
            .eps = cast(options_.eps),
            .keep = cast(1 - lr * rates.weight_decay)};
  }

  static void update_slab(const ExpertSlab<T>& slab, Moments& moments, const kernels::AdamWStep<T>& decaying,
                          std::uint32_t seed) {
    const T* gradient = slab.gradient();
    auto plain = decaying;
    plain.keep = T{1};
    OptimizerBase<T>::update_experts(slab, [&](const FusionSpan& span) {
      update_span(slab, span, gradient, moments, span.decay ? decaying : plain, seed);
    });
  }

  static void update_span(const ExpertSlab<T>& slab, const FusionSpan& span, const T* gradient,
                          Moments& moments, const kernels::AdamWStep<T>& step, std::uint32_t seed) {
    using Kernel = kernels::AdamW<T>;
    const Index experts = slab.experts(), row = slab.row_size();
    const T* a = slab.weights().data() + span.group * experts;
    const T* g = gradient + span.begin;
    T* m = moments.m.data();
    T* v = moments.v.data();
    if (slab.constant_weights()) {
      Kernel::update_experts(slab.data() + span.begin, row, a, experts, g, m + span.begin, v + span.begin,
                             span.size, step);
      return;
    }
    for (Index i = 0; i < experts; ++i) {
      const Index first = i * row + span.begin;
      T* p = slab.data() + first;
      if (moments.bf16.size() > 0) {
        Kernel::update_expert(p, g, a[i], moments.bf16.data() + first, span.size, step,
                              seed + static_cast<std::uint32_t>(first));
      } else {
        Kernel::update_expert(p, g, a[i], m + first, v + first, span.size, step);
      }
    }
  }

  AdamWOptions options_;
  std::vector<Moments> moments_;
  std::vector<std::int64_t> steps_;
};

}  // namespace exfusion
