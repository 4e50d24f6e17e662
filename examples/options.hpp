#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <CLI/CLI.hpp>

#include <exfusion/autograd/context.hpp>
#include <exfusion/optim/schedule.hpp>

#include "program.hpp"

// The options that the two training programs share, from the command line, a configuration file or the
// checkpoint of a run that goes on; and the learning-rate schedule that follows from them.

namespace exfusion::examples {

struct Options {
  std::string data = "builtin";
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
  double label_smoothing = 0;
  std::string precision = "fp32";
  bool recompute = false;
  double ema = 0;
  std::uint64_t seed = 1337;
  int threads = 0;

  Precision product_precision() const { return precision == "bf16" ? Precision::bf16 : Precision::fp32; }

  // Beginning and end of a run.
  std::string config;
  std::string init_from;
  std::string resume;
  std::vector<std::string> override_keys;
  bool overwrite = false;
  Index max_items = 0;
  double max_minutes = 0;
  Index patience = 0;
  Index stop_after = 0;
  Index max_bad_steps = 10;

  // Reports.
  Index log_interval = 10;
  Index eval_interval = 250;
  Index eval_batches = 0;
  bool quiet = false;
  std::string out;
  Index checkpoint_interval = 0;
  double checkpoint_minutes = 15;
  Index keep_last = 2;
  std::string compare;
  bool dry_run = false;
};

/// A description of an option whose default is not a plain value.
inline std::string with_default(const std::string& description, const std::string& value) {
  return description + " (default: " + value + ")";
}

inline constexpr const char* feed_forward_group = "Feed-forward networks";

/// How a dense network becomes experts that are fused into one.
inline void add_fusion_options(CLI::App& app, Options& o) {
  app.option_defaults()->group(feed_forward_group);
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
}

inline void add_feed_forward_options(CLI::App& app, Options& o) {
  app.option_defaults()->group(feed_forward_group);
  app.add_option("--ffn", o.ffn, "dense; exfusion: experts fused into one; moe: sparse mixtures of experts")
      ->check(CLI::IsMember({"dense", "exfusion", "moe"}));
  add_fusion_options(app, o);
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
  app.add_option("--label-smoothing", o.label_smoothing,
                 "Share of the target spread over all classes, in [0, 1)");
  app.add_option(
         "--precision", o.precision,
         "bf16: factors of matrix products, queries, keys, values and hidden numbers rounded to bfloat16, "
         "all else in fp32")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_flag("--recompute", o.recompute,
               "Compute each block again in the backward pass: less memory, a third more work, same results");
  app.add_option("--ema", o.ema,
                 "Evaluate and save a moving average of the weights with this decay; 0: none");
  app.add_option("--seed", o.seed, "Of the weights, the order of the data, dropout and samples");
  app.add_option("--threads", o.threads, "0: one per core; results do not depend on their number");
}

/// `items`: what a step takes in, "tokens" or "images".
inline void add_run_options(CLI::App& app, Options& o, const std::string& items) {
  app.option_defaults()->group("Beginning and end");
  app.add_option("--config", o.config,
                 "TOML file of options, such as a run's config.toml; the command line wins over it");
  app.add_option("--init-from", o.init_from,
                 "Begin with the model of a run, a checkpoint or a Hugging Face folder, upcycled if --ffn "
                 "asks for it; or "
                 "with the experts of a file that `convert upcycle` wrote");
  app.add_option(
      "--resume", o.resume,
      "Go on with a run exactly where it stopped: auto (the one in --out, if there is one), a run's "
      "folder or a checkpoint; its options hold unless named by --override");
  app.add_option("--override", o.override_keys,
                 "Options that may differ from those of the run that is resumed, separated by commas")
      ->delimiter(',')
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str("");
  app.add_flag("--overwrite", o.overwrite, "Replace the run in --out");
  app.add_option(
      "--max-" + items, o.max_items,
      "End the run, and its schedule, with the step that reaches so many " + items + "; 0: --steps");
  app.add_option("--max-minutes", o.max_minutes,
                 "End the run after so much training time, over all sessions; 0: no limit");
  app.add_option("--patience", o.patience,
                 "End the run after so many evaluations without a better loss; 0: any number");
  app.add_option("--stop-after", o.stop_after,
                 "Save a checkpoint after this step and stop, as at Ctrl-C; 0: go to the end");
  app.add_option(
      "--max-bad-steps", o.max_bad_steps,
      "Steps in a row that may be skipped because a number is not finite; then the run goes back to "
      "its last checkpoint once, or ends with exit code 3");
  app.option_defaults()->group("Reports");
  app.add_option("--log-interval", o.log_interval, "Steps between two status lines");
  app.add_option("--eval-interval", o.eval_interval, "Steps between two evaluations; 0: at the end only");
  app.add_option("--eval-batches", o.eval_batches, "Batches of an evaluation during training; 0: all");
  app.add_flag("--quiet", o.quiet, "Say only what goes wrong, and the result");
  app.add_option("--out", o.out,
                 with_default("Folder for the run, made if missing: checkpoints, metrics, report.html, the "
                              "trained dense model",
                              "nothing is saved"));
  app.add_option("--checkpoint-interval", o.checkpoint_interval,
                 "Steps between two checkpoints; 0: by time alone");
  app.add_option("--checkpoint-minutes", o.checkpoint_minutes,
                 "Time between two checkpoints; 0: by steps alone");
  app.add_option("--keep-last", o.keep_last, "Checkpoints to keep, beside the best");
  app.add_option("--compare", o.compare, "Folder of a run whose curves the report shows, too");
  app.add_flag("--dry-run", o.dry_run, "Print what memory and work a step would take, and do nothing");
}

/// Flags that have no effect beside the others, each with what it would need.
inline std::map<std::string, std::string> idle_flags(const Options& o) {
  const bool exfusion = o.ffn == "exfusion";
  std::map<std::string, std::string> idle;
  const auto only = [&](bool used, const std::string& needed, std::initializer_list<const char*> flags) {
    for (const char* flag : flags) {
      if (!used) idle.emplace(flag, needed);
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
  only(o.init_from.empty(), "a fresh model: leave --init-from away",
       {"--layers", "--heads", "--d-model", "--tokenizer"});
  only(o.data.starts_with("folder:"), "--data folder:DIR", {"--image-size"});
  only(!o.resume.empty(), "--resume", {"--override"});
  only(!o.out.empty(), "--out",
       {"--checkpoint-interval", "--checkpoint-minutes", "--keep-last", "--compare"});
  return idle;
}

/// Gives an option the value that follows from others, as if the user had.
inline void put(CLI::App& app, const std::string& flag, const std::string& value) {
  CLI::Option* option = app.get_option(flag);
  option->clear();
  option->add_result(value);
  option->run_callback();
}

/// The shortest text that reads back as exactly this number.
inline std::string number_text(auto value) {
  char text[40];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

/// Checks what no other part of the library checks in time, fills in what follows from other options, and
/// sets the number of threads. `items_of_sequence`: of one sequence or image, for --max-<items>. Throws
/// ConfigError naming the flag, its value and the limit.
inline void settle(CLI::App& app, Options& o, const std::string& items, Index items_of_sequence) {
  require(o.batch >= 1 && o.batch <= 1'000'000, "--batch", o.batch, "1 to 1000000");
  require(o.accumulate >= 1 && o.accumulate <= 1'000'000, "--accumulate", o.accumulate, "1 to 1000000");
  require(o.steps >= 1, "--steps", o.steps, "at least 1");
  require(o.clip >= 0, "--clip", o.clip, "0 or more");
  require(o.ema >= 0 && o.ema < 1, "--ema", o.ema, "in [0, 1)");
  require(o.label_smoothing >= 0 && o.label_smoothing < 1, "--label-smoothing", o.label_smoothing,
          "in [0, 1)");
  require(o.log_interval >= 1, "--log-interval", o.log_interval, "at least 1");
  require(o.eval_interval >= 0, "--eval-interval", o.eval_interval, "0 or more");
  require(o.eval_batches >= 0, "--eval-batches", o.eval_batches, "0 or more");
  require(o.max_items >= 0, "--max-" + items, o.max_items, "0 or more");
  require(o.max_minutes >= 0, "--max-minutes", o.max_minutes, "0 or more");
  require(o.patience >= 0, "--patience", o.patience, "0 or more");
  require(o.max_bad_steps >= 1, "--max-bad-steps", o.max_bad_steps, "at least 1");
  require(o.checkpoint_interval >= 0, "--checkpoint-interval", o.checkpoint_interval, "0 or more");
  require(o.checkpoint_minutes >= 0, "--checkpoint-minutes", o.checkpoint_minutes, "0 or more");
  require(o.keep_last >= 1, "--keep-last", o.keep_last, "at least 1");
  if (!o.compare.empty() && !std::filesystem::exists(std::filesystem::path(o.compare) / "metrics.jsonl"))
    throw ConfigError("--compare", o.compare, " is no run's folder: it has no metrics.jsonl");
  set_threads(o.threads);
  if (o.max_items > 0) {
    Index items_of_step = 0;
    if (__builtin_mul_overflow(o.batch * o.accumulate, std::max<Index>(1, items_of_sequence), &items_of_step))
      items_of_step = std::numeric_limits<Index>::max();
    put(app, "--steps", number_text(std::min(o.steps, (o.max_items - 1) / items_of_step + 1)));
  }
  if (!o.min_lr) put(app, "--min-lr", number_text(o.lr / 10));
  if (!o.warmup) put(app, "--warmup", number_text(std::min<Index>(100, o.steps / 10)));
  if (!o.decay_steps) put(app, "--decay-steps", number_text(o.steps / 5));
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

}  // namespace exfusion::examples
