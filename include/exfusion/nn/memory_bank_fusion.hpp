#pragma once

#include <cmath>

#include <exfusion/core/shared_state.hpp>
#include <exfusion/nn/fusion_rule.hpp>
#include <exfusion/nn/linear.hpp>
#include <exfusion/nn/memory_bank.hpp>
#include <exfusion/ops/mean_rows.hpp>
#include <exfusion/ops/softmax.hpp>
#include <exfusion/ops/straight_through.hpp>

namespace exfusion {

/// What training fuses with. routed: the router's weights a. straight_through: the bank b as it stood before
/// the step, with the gradient of a; logits then depend on past batches only. automatic: straight_through in
/// causal models, routed in others.
enum class BankValue { automatic, routed, straight_through };

struct MemoryBankFusionOptions {
  BankValue value = BankValue::automatic;
  MemoryBankOptions bank = {};
  double router_std = 0.02;    ///< Of the router's initial weight.
  double lr_multiplier = 1.0;  ///< Of the optimizer's learning rate, for the router.
};

/// Fusion weights from a router, remembered in a memory bank (ExFusion-mb of arXiv 2603.27965;
/// docs/method.md): a = softmax(W_r p + b_r) with p [D] the layer's input averaged over batch and tokens, W_r
/// [E, D], b_r [E]. Evaluation, generation and collapse use the bank. The router is never decayed.
template <Scalar T>
struct MemoryBankFusion {
  static constexpr bool constant_weights = false;
  static constexpr bool saves_input = false;

  MemoryBankFusionOptions options;
  Linear<T> router;
  SharedState<MemoryBank<T>> bank;

  MemoryBankFusion() = default;
  explicit MemoryBankFusion(MemoryBankFusionOptions chosen) : options(chosen) {}

  static void fields(auto& self, auto&& visit) {
    visit("router", self.router);
    visit("bank", self.bank);
  }

  FusionGranularity granularity() const { return FusionGranularity::layer; }
  bool weights_sum_to_one() const { return true; }

  /// Settles what `automatic` means. Throws ConfigError when the value is `routed` in a causal model, or an
  /// option is out of range.
  void initialise(const FusionSite& site, Rng& rng) {
    if (site.causal && options.value == BankValue::routed) {
      throw ConfigError("memory_bank_fusion",
                        "routed weights average over the batch, which carries later "
                        "tokens into earlier logits of a causal model: choose straight_through");
    }
    if (options.value == BankValue::automatic) {
      options.value = site.causal ? BankValue::straight_through : BankValue::routed;
    }
    if (!(std::isfinite(options.router_std) && options.router_std >= 0)) {
      throw ConfigError("memory_bank_fusion", "router_std is ", options.router_std,
                        ": it must be finite and not negative");
    }
    bank = SharedState(MemoryBank<T>(site.experts, options.bank));
    router = Linear<T>(site.d_model, site.experts, options.router_std, rng);
    const ParameterOptions fusion{.decay = false, .fusion = true, .lr_multiplier = options.lr_multiplier};
    router.weight.set_options(fusion);
    router.bias.set_options(fusion);
  }

  /// a [1, E] for x [..., D]; in training the bank takes note of the router's weights. Throws
  /// NotFiniteError when they are not finite.
  Tensor<T> training_weights(const Context<T>& ctx, const Tensor<T>& x) const {
    const Tensor<T> p = ops::mean_rows(ctx, x);
    const Tensor<T> z = router(ctx.with_precision(Precision::fp32), p.reshape({1, p.size()}));
    const Tensor<T> a = ops::softmax(ctx, z);
    if (ctx.training && !ctx.replay) bank->observe(a);
    return options.value == BankValue::straight_through ? ops::straight_through(ctx, bank->weights(), a) : a;
  }

  /// b [1, E].
  Tensor<T> export_weights() const { return bank->weights(); }

  /// The bank once it has moved on; not known beforehand where training fuses with the router's weights.
  NextWeights<T> next_weights() const {
    if (options.value != BankValue::straight_through) return {};
    return {.state = bank.share()};
  }
};

}  // namespace exfusion
