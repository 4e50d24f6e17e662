#pragma once

#include <cstdio>
#include <initializer_list>
#include <string>
#include <utility>

#include <exfusion/models/flops.hpp>
#include <exfusion/train/activation_plan.hpp>
#include <exfusion/train/units.hpp>

namespace exfusion::train {

/// Bytes that a training run in float with AdamW needs, by kind, and what it computes: by arithmetic from the
/// configuration, before anything is allocated. The data are left out, and what comes to a few numbers for
/// each expert or operation.
struct MemoryPlan {
  double parameters = 0;   ///< Trained numbers; all experts count.
  double exported = 0;     ///< Numbers of the dense model that `collapse` gives; as trained if nothing fuses.
  double weights = 0;      ///< Bytes of all parameters but the experts.
  double experts = 0;      ///< Bytes of the experts.
  double fused = 0;        ///< Bytes of the fused weights W.
  double rounded = 0;      ///< Bytes of the matrices' copies in bfloat16, in bf16 precision.
  double gradients = 0;    ///< Bytes of the parameters' gradients; one dense gradient for all fused experts.
  double moments = 0;      ///< Bytes of AdamW's state.
  double activations = 0;  ///< Bytes of one pass, as `activation_bytes` counts.
  double average = 0;      ///< Bytes of the weights' moving average.
  double checkpoint = 0;   ///< Bytes of the copy that checkpoints are written from.
  FlopCount forward;       ///< One pass forward.
  double flops_of_step = 0;  ///< Forward, backward and fusion of one optimizer step.

  double bytes() const {
    return weights + experts + fused + rounded + gradients + moments + activations + average + checkpoint;
  }
};

/// One optimizer step.
struct StepPlan {
  PassPlan pass;
  Index accumulate = 1;       ///< Passes of a step.
  bool average = false;       ///< Whether an Ema is kept.
  bool checkpoints = false;   ///< Whether checkpoints are written.
  bool bf16_moments = false;  ///< As AdamWOptions say.
};

namespace detail {

/// Numbers of the feed-forward network of one layer.
struct FfnNumbers {
  double dense = 0;   ///< In the parameters of one network.
  double padded = 0;  ///< P: the same, each parameter rounded up to whole cache lines.
  double groups = 1;  ///< Sets of fusion weights.
  double rule = 0;    ///< In the fusion rule's parameters, or a sparse mixture's router.

  template <class Config>
  FfnNumbers(const Config& config, const FfnPlan& ffn) {
    const auto d_model = static_cast<double>(config.d_model), d_ff = static_cast<double>(config.hidden());
    const double inner = config.activation == Activation::swiglu ? 2 : 1;  // matrices [F, D]
    for (int i = 0; i < static_cast<int>(inner); ++i) add(d_ff * d_model, d_ff);
    add(d_model * d_ff, d_model);
    if (ffn.granularity == FusionGranularity::matrix) groups = inner + 1;
    if (ffn.granularity == FusionGranularity::row) groups = inner * d_ff + d_model;
    const auto experts = static_cast<double>(ffn.experts);
    if (ffn.kind == FfnKind::sparse) rule = experts * d_model;
    if (ffn.kind != FfnKind::fused) return;
    if (ffn.rule == RuleKind::learned) rule = groups * experts;
    if (ffn.rule == RuleKind::memory_bank) rule = experts * (d_model + 1);
  }

 private:
  void add(double weight, double bias) {
    for (double size : {weight, bias}) {
      constexpr auto line = static_cast<double>(storage_alignment / sizeof(float));
      dense += size;
      padded += std::ceil(size / line) * line;
    }
  }
};

/// Parameters of all blocks but their feed-forward networks, and of the last normalisation: norms with
/// weight and bias, q, k and v, projection.
template <class Config>
double trunk_parameters(const Config& config) {
  const auto d = static_cast<double>(config.d_model);
  return static_cast<double>(config.layers) * (4 * d + 3 * d * (d + 1) + d * (d + 1)) + 2 * d;
}

inline double other_parameters(const GptConfig& config) {
  return static_cast<double>(config.vocab_size + config.context) * static_cast<double>(config.d_model);
}

inline double other_parameters(const VitConfig& config) {
  const auto d = static_cast<double>(config.d_model);
  const auto patch = static_cast<double>(config.channels * config.patch_size * config.patch_size);
  const double class_token = config.pooling == Pooling::cls ? 1 : 0;
  return d * (patch + 1) + d * (class_token + static_cast<double>(config.tokens())) +
         static_cast<double>(config.classes) * (d + 1);
}

/// Numbers in the matrices that linear operations multiply by, all experts of a sparse mixture included.
template <class Config>
double multiplied_numbers(const Config& config, const FfnPlan& ffn) {
  const auto layers = static_cast<double>(config.layers), d = static_cast<double>(config.d_model);
  const double networks = ffn.kind == FfnKind::sparse ? static_cast<double>(ffn.experts) : 1;
  const double matrices =
      exfusion::detail::ffn_matrix_size(config.d_model, config.hidden(), config.activation);
  double outside = 0;
  if constexpr (std::same_as<Config, GptConfig>) {
    outside = static_cast<double>(config.vocab_size);
  } else {
    outside = static_cast<double>(config.channels * config.patch_size * config.patch_size + config.classes);
  }
  return layers * (4 * d * d + networks * matrices) + outside * d;
}

inline FfnWork ffn_work(const FfnPlan& ffn) {
  if (ffn.kind != FfnKind::sparse) return {};
  return {.networks = ffn.k, .router_outputs = ffn.experts};
}

inline FlopCount pass_flops(const GptConfig& config, const FfnPlan& ffn, const PassPlan& pass) {
  return forward_flops(config, pass.batch, pass.tokens == 0 ? config.context : pass.tokens, ffn_work(ffn));
}

inline FlopCount pass_flops(const VitConfig& config, const FfnPlan& ffn, const PassPlan& pass) {
  return forward_flops(config, pass.batch, ffn_work(ffn));
}

/// Fills in what parameters take: their number, and the bytes of weights, gradients and moments.
template <class Config>
void plan_parameters(MemoryPlan& plan, const Config& config, const FfnPlan& ffn, bool bf16_moments) {
  const FfnNumbers numbers(config, ffn);
  const auto layers = static_cast<double>(config.layers), experts = static_cast<double>(ffn.experts);
  const double shared = trunk_parameters(config) + other_parameters(config);
  const bool is_dense = ffn.kind == FfnKind::dense, is_fused = ffn.kind == FfnKind::fused;
  const double plain = shared + layers * (is_dense ? numbers.dense : numbers.rule);
  const double slab = is_fused ? layers * numbers.padded : 0;            // one row in each layer
  const double stack = is_dense ? 0 : layers * experts * numbers.dense;  // all experts without padding
  const bool share_moments = ffn.rule == RuleKind::fixed;
  const double moments_of_row = share_moments ? 2 : experts * (bf16_moments ? 1 : 2);  // in numbers of a row

  constexpr double size = sizeof(float);
  plan.parameters = plain + stack;
  plan.exported = is_fused ? shared + layers * numbers.dense : plan.parameters;
  plan.weights = size * plain;
  plan.experts = size * (is_fused ? experts * slab : stack);
  plan.fused = size * slab;
  plan.gradients = size * (plain + (is_fused ? slab : stack));
  plan.moments = size * (2 * plain + (is_fused ? moments_of_row * slab : 2 * stack));
}

}  // namespace detail

/// The plan of a Gpt or a Vit (`Config`: GptConfig, VitConfig). Throws ConfigError as `activation_bytes` does
/// and when `accumulate` is not positive.
template <class Config>
MemoryPlan plan_memory(const Config& config, const FfnPlan& ffn, const StepPlan& step) {
  exfusion::detail::check_positive("memory plan", "accumulate", step.accumulate);
  MemoryPlan plan;
  plan.activations = activation_bytes(config, ffn, step.pass);
  detail::plan_parameters(plan, config, ffn, step.bf16_moments);
  if (step.pass.precision == Precision::bf16)
    plan.rounded = sizeof(Bfloat16) * detail::multiplied_numbers(config, ffn);
  if (step.average) plan.average = sizeof(float) * plan.exported;
  if (step.checkpoints) plan.checkpoint = plan.weights + plan.experts + plan.moments + plan.average;
  plan.forward = detail::pass_flops(config, ffn, step.pass);
  plan.flops_of_step =
      static_cast<double>(step.accumulate) * training_flops(plan.forward, step.pass.recompute);
  if (ffn.kind == FfnKind::fused) plan.flops_of_step += fuse_flops(config, ffn.experts);
  return plan;
}

/// The plan as lines of text.
inline std::string memory_table(const MemoryPlan& plan) {
  std::string table;
  char line[128];
  const auto add = [&](const char* name, const std::string& value) {
    std::snprintf(line, sizeof line, "%-28s %14s\n", name, value.c_str());
    table += line;
  };
  const auto count = [](double number, const char* form) {
    char text[32];
    std::snprintf(text, sizeof text, form, number);
    return std::string(text);
  };
  add("parameters, trained", count(plan.parameters, "%.0f"));
  add("parameters, exported", count(plan.exported, "%.0f"));
  for (const auto& [name, bytes] :
       std::initializer_list<std::pair<const char*, double>>{{"weights", plan.weights},
                                                             {"experts", plan.experts},
                                                             {"fused weights", plan.fused},
                                                             {"rounded weights", plan.rounded},
                                                             {"gradients", plan.gradients},
                                                             {"moments", plan.moments},
                                                             {"activations", plan.activations},
                                                             {"moving average", plan.average},
                                                             {"copy for checkpoints", plan.checkpoint},
                                                             {"memory in all", plan.bytes()}}) {
    add(name, byte_text(bytes));
  }
  add("FLOPs of one pass forward", count(plan.forward.total(), "%.4g"));
  add("FLOPs of one step", count(plan.flops_of_step, "%.4g"));
  return table;
}

}  // namespace exfusion::train
