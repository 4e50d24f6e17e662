#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>

#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/optim/schedule.hpp>
#include <exfusion/train/activation_plan.hpp>

#include "program.hpp"

// The command-line options that the two training programs share, and what follows from them: a learning-rate
// schedule, and which feed-forward network stands in the model's blocks.

namespace exfusion::examples {

struct Options {
  // Feed-forward networks.
  std::string ffn = "exfusion";
  Index experts = 4;
  std::string fusion = "bank";
  std::vector<double> static_weights;
  bool free_weights = false;
  std::string granularity = "layer";
  double fusion_lr = 1;
  std::string bank_value = "automatic";
  double bank_decay = 0.99;
  std::optional<Index> bank_window;
  double router_std = 0.02;
  std::string expert_init = "copies";
  double init_scale = 0.5;
  double drop_ratio = 0.5;
  bool keep_function = true;
  Index moe_k = 2;
  double moe_balance = 0.01;
  // Training.
  Index batch = 0;
  Index accumulate = 1;
  Index steps = 0;
  double lr = 1e-3;
  std::string schedule = "cosine";
  std::optional<double> min_lr;
  std::optional<Index> warmup;
  std::optional<Index> decay_steps;
  double weight_decay = 0.1;
  double beta2 = 0.99;
  bool bf16_moments = false;
  double clip = 1;
  double dropout = 0;
  std::string precision = "fp32";
  bool recompute = false;
  double ema = 0;
  std::uint64_t seed = 1337;
  int threads = 0;

  Precision product_precision() const { return precision == "bf16" ? Precision::bf16 : Precision::fp32; }

  // Reports.
  Index log_interval = 10;
  Index eval_interval = 250;
  Index eval_batches = 0;
  std::string out;
  bool dry_run = false;
};

/// A description of an option whose default is not a plain value.
inline std::string with_default(const std::string& description, const std::string& value) {
  return description + " (default: " + value + ")";
}

inline void add_feed_forward_options(CLI::App& app, Options& o) {
  app.option_defaults()->group("Feed-forward networks");
  app.add_option("--ffn", o.ffn, "dense; exfusion: experts fused into one; moe: sparse mixtures of experts")
      ->check(CLI::IsMember({"dense", "exfusion", "moe"}));
  app.add_option("--experts", o.experts, "Experts of each network");
  app.add_option("--fusion", o.fusion, "Where the experts' weights come from")
      ->check(CLI::IsMember({"static", "learned", "bank"}));
  app.add_option("--static-weights", o.static_weights,
                 with_default("static: one for each expert, separated by commas, of sum 1", "uniform"))
      ->delimiter(',')
      ->default_str("");
  app.add_flag("--free-weights", o.free_weights, "learned: the weights themselves instead of a softmax");
  app.add_option("--fusion-granularity", o.granularity, "learned: what shares one weight")
      ->check(CLI::IsMember({"layer", "matrix", "row"}));
  app.add_option("--fusion-lr", o.fusion_lr, "learned, bank: multiplies the rule's learning rate");
  app.add_option("--bank-value", o.bank_value,
                 "bank: what training fuses with; automatic: straight_through in GPT, routed in ViT")
      ->check(CLI::IsMember({"automatic", "routed", "straight_through"}));
  app.add_option("--bank-decay", o.bank_decay, "bank: decay of its moving average, in [0, 1)");
  app.add_option("--bank-window", o.bank_window, "bank: mean of so many steps instead of a moving average");
  app.add_option("--router-std", o.router_std, "bank: standard deviation of the router's initial weights");
  app.add_option("--expert-init", o.expert_init, "How the experts come from the dense network")
      ->check(CLI::IsMember({"copies", "zero_sum", "drop"}));
  app.add_option("--init-scale", o.init_scale, "zero_sum: size of the experts' differences");
  app.add_option("--drop-ratio", o.drop_ratio, "drop: share of the hidden channels drawn anew, in [0, 1]");
  app.add_option("--keep-function", o.keep_function, "drop: keep the fused network equal to the dense one")
      ->default_str("true");
  app.add_option("--moe-k", o.moe_k, "moe: experts that serve each token");
  app.add_option("--moe-balance", o.moe_balance, "moe: factor of the load-balancing loss");
}

inline void add_training_options(CLI::App& app, Options& o) {
  app.option_defaults()->group("Training");
  app.add_option("--batch", o.batch, "Sequences or images in a batch");
  app.add_option("--accumulate", o.accumulate, "Batches whose gradients make one step");
  app.add_option("--steps", o.steps, "Optimizer steps");
  app.add_option("--lr", o.lr, "Largest learning rate (AdamW)");
  app.add_option("--schedule", o.schedule, "How the learning rate falls after the warm-up")
      ->check(CLI::IsMember({"constant", "linear", "cosine", "wsd"}));
  app.add_option("--min-lr", o.min_lr, with_default("Learning rate of the last step", "a tenth of --lr"));
  app.add_option("--warmup", o.warmup, with_default("Steps of warm-up", "a tenth of --steps, at most 100"));
  app.add_option("--decay-steps", o.decay_steps,
                 with_default("wsd: steps of decay at the end", "a fifth of --steps"));
  app.add_option("--weight-decay", o.weight_decay, "Decoupled; of matrices only");
  app.add_option("--beta2", o.beta2, "Decay of AdamW's second moment, in [0, 1)");
  app.add_flag("--bf16-moments", o.bf16_moments,
               "learned, bank: keep AdamW's moments of the experts in bfloat16, in half the memory");
  app.add_option("--clip", o.clip, "Largest norm of the gradient; 0: no clipping");
  app.add_option("--dropout", o.dropout, "Probability, in [0, 1)");
  app.add_option("--precision", o.precision,
                 "bf16: factors of matrix products rounded to bfloat16, all else in fp32")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_flag("--recompute", o.recompute,
               "Compute each block again in the backward pass: less memory, a third more work, same results");
  app.add_option("--ema", o.ema,
                 "Evaluate and save a moving average of the weights with this decay; 0: none");
  app.add_option("--seed", o.seed, "Of the weights, the order of the data, dropout and samples");
  app.add_option("--threads", o.threads, "0: one per core; results do not depend on their number");
  app.option_defaults()->group("Reports");
  app.add_option("--log-interval", o.log_interval, "Steps between two status lines");
  app.add_option("--eval-interval", o.eval_interval, "Steps between two evaluations; 0: at the end only");
  app.add_option("--eval-batches", o.eval_batches, "Batches of an evaluation during training; 0: all");
  app.add_option("--out", o.out,
                 with_default("Folder for the trained dense model, made if missing", "nothing is saved"));
  app.add_flag("--dry-run", o.dry_run, "Print what memory and work a step would take, and do nothing");
}

namespace detail {

/// Refuses flags that would have no effect beside the others, instead of ignoring them.
inline void refuse_idle_flags(const CLI::App& app, const Options& o) {
  const bool exfusion = o.ffn == "exfusion";
  const auto only = [&](bool used, const std::string& needed, std::initializer_list<const char*> flags) {
    for (const char* flag : flags) {
      if (!used && app.count(flag) > 0) throw ConfigError(flag, "has no effect without ", needed);
    }
  };
  only(exfusion || o.ffn == "moe", "--ffn exfusion or moe", {"--experts"});
  only(exfusion, "--ffn exfusion", {"--fusion", "--expert-init"});
  only(exfusion && o.fusion == "static", "--fusion static", {"--static-weights"});
  only(exfusion && o.fusion == "learned", "--fusion learned", {"--free-weights", "--fusion-granularity"});
  only(exfusion && o.fusion != "static", "--fusion learned or bank", {"--fusion-lr", "--bf16-moments"});
  only(exfusion && o.fusion == "bank", "--fusion bank",
       {"--bank-value", "--bank-decay", "--bank-window", "--router-std"});
  only(!o.bank_window, "a moving average: leave --bank-window away", {"--bank-decay"});
  only(exfusion && o.expert_init == "zero_sum", "--expert-init zero_sum", {"--init-scale"});
  only(exfusion && o.expert_init == "drop", "--expert-init drop", {"--drop-ratio", "--keep-function"});
  only(o.ffn == "moe", "--ffn moe", {"--moe-k", "--moe-balance"});
  only(o.schedule == "wsd", "--schedule wsd", {"--decay-steps"});
  only(o.schedule != "constant", "a schedule that falls", {"--min-lr"});
}

}  // namespace detail

/// Checks what no other part of the library checks in time, fills in what follows from other options, and
/// sets the number of threads. Throws ConfigError naming the flag, its value and the limit.
inline void settle(const CLI::App& app, Options& o) {
  detail::refuse_idle_flags(app, o);
  require(o.batch >= 1 && o.batch <= 1'000'000, "--batch", o.batch, "1 to 1000000");
  require(o.accumulate >= 1 && o.accumulate <= 1'000'000, "--accumulate", o.accumulate, "1 to 1000000");
  require(o.steps >= 1, "--steps", o.steps, "at least 1");
  require(o.clip >= 0, "--clip", o.clip, "0 or more");
  require(o.ema >= 0 && o.ema < 1, "--ema", o.ema, "in [0, 1)");
  require(o.log_interval >= 1, "--log-interval", o.log_interval, "at least 1");
  require(o.eval_interval >= 0, "--eval-interval", o.eval_interval, "0 or more");
  require(o.eval_batches >= 0, "--eval-batches", o.eval_batches, "0 or more");
  if (o.ffn == "moe" && !o.out.empty()) {
    throw ConfigError("--out",
                      "a sparse mixture of experts is no dense model and cannot be saved as one: leave "
                      "--out away, or choose --ffn exfusion");
  }
  set_threads(o.threads);
  if (!o.min_lr) o.min_lr = o.lr / 10;
  if (!o.warmup) o.warmup = std::min<Index>(100, o.steps / 10);
  if (!o.decay_steps) o.decay_steps = o.steps / 5;
}

using Schedule = std::variant<ConstantSchedule, LinearSchedule, CosineSchedule, WsdSchedule>;

inline Schedule make_schedule(const Options& o) {
  if (o.schedule == "constant") return ConstantSchedule({.lr = o.lr, .warmup = *o.warmup});
  if (o.schedule == "wsd") {
    return WsdSchedule(
        {.lr = o.lr, .min_lr = *o.min_lr, .warmup = *o.warmup, .decay = *o.decay_steps, .steps = o.steps});
  }
  const DecayScheduleOptions decay{.lr = o.lr, .min_lr = *o.min_lr, .warmup = *o.warmup, .steps = o.steps};
  if (o.schedule == "linear") return LinearSchedule(decay);
  return CosineSchedule(decay);
}

inline double rate_at(const Schedule& schedule, Index step) {
  return std::visit([step](const auto& chosen) { return chosen.at(step); }, schedule);
}

inline FusionGranularity granularity_named(const std::string& name) {
  if (name == "matrix") return FusionGranularity::matrix;
  return name == "row" ? FusionGranularity::row : FusionGranularity::layer;
}

inline BankValue bank_value_named(const std::string& name) {
  if (name == "routed") return BankValue::routed;
  return name == "straight_through" ? BankValue::straight_through : BankValue::automatic;
}

inline ExpertInit make_expert_init(const Options& o) {
  if (o.expert_init == "zero_sum") return ZeroSum{o.init_scale};
  if (o.expert_init == "drop") return Drop{o.drop_ratio, o.keep_function};
  return Copies{};
}

/// What the options ask for, as the memory plan wants to know it.
inline train::FfnPlan ffn_plan(const Options& o) {
  if (o.ffn == "dense") return {};
  if (o.ffn == "moe") return {.kind = train::FfnKind::sparse, .experts = o.experts, .k = o.moe_k};
  train::FfnPlan plan{.kind = train::FfnKind::fused, .experts = o.experts};
  if (o.fusion == "static") plan.rule = train::RuleKind::fixed;
  if (o.fusion == "learned") plan.rule = train::RuleKind::learned;
  if (o.fusion == "learned") plan.granularity = granularity_named(o.granularity);
  return plan;
}

/// Calls `use(model)` with the model that the options ask for, made from the dense one: its type depends on
/// the feed-forward network and the fusion rule. The dense one is gone by then.
template <class Model, class Use>
void with_chosen_ffn(Model dense, const Options& o, Rng& rng, const Use& use_model) {
  using T = float;
  if (o.ffn == "dense") return use_model(std::move(dense));
  const auto use = [&](auto model) {
    dense = Model();
    use_model(std::move(model));
  };
  if (o.ffn == "moe") {
    const SparseMoEOptions mixture{.experts = o.experts, .k = o.moe_k, .balance = o.moe_balance};
    return use(dense.transform_ffn(
        [&](const FeedForward<T>& ffn, Index) { return SparseMoE<T>(ffn, mixture, rng); }));
  }
  const UpcycleOptions upcycling{.experts = o.experts, .init = make_expert_init(o)};
  if (o.fusion == "static") {
    return use(upcycle(dense, StaticFusion<T>({.weights = o.static_weights}), upcycling, rng));
  }
  if (o.fusion == "learned") {
    const LearnedFusion<T> rule({.form = o.free_weights ? LearnedForm::free : LearnedForm::softmax,
                                 .granularity = granularity_named(o.granularity),
                                 .lr_multiplier = o.fusion_lr});
    return use(upcycle(dense, rule, upcycling, rng));
  }
  const MemoryBankOptions bank{.memory = o.bank_window ? BankMemory::window : BankMemory::moving_average,
                               .beta = o.bank_decay,
                               .window = o.bank_window.value_or(1)};
  const MemoryBankFusion<T> rule({.value = bank_value_named(o.bank_value),
                                  .bank = bank,
                                  .router_std = o.router_std,
                                  .lr_multiplier = o.fusion_lr});
  use(upcycle(dense, rule, upcycling, rng));
}

}  // namespace exfusion::examples
