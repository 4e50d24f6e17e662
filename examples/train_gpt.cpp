// Trains a character-level GPT whose feed-forward networks are fused from experts, collapses it into an
// ordinary dense GPT, and saves that as a Hugging Face folder which `generate` reads.
//
//   train_gpt                                     the built-in text, a few minutes on two cores
//   train_gpt --data FILE --ffn dense --out DIR   any UTF-8 text; dense, for comparison

#include <filesystem>
#include <iostream>
#include <optional>

#include <exfusion/data/builtin_text.hpp>
#include <exfusion/data/text.hpp>
#include <exfusion/data/text_loader.hpp>
#include <exfusion/data/vocabulary_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/ema.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/fusion_table.hpp>
#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/progress.hpp>
#include <exfusion/train/sample.hpp>

#include "options.hpp"
#include "training.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;

struct GptOptions : Options {
  std::string data = "builtin";
  Index layers = 4;
  Index heads = 4;
  Index d_model = 128;
  Index context = 128;  // characters: two or three lines
  Index sample = 300;

  GptOptions() {
    batch = 32;
    steps = 1500;
    lr = 1e-3;     // small models take larger rates than the usual 3e-4
    beta2 = 0.99;  // below the usual 0.999: a batch holds few tokens, and the run is short
  }
};

void add_options(CLI::App& app, GptOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(last_wins)->group("Model and data");
  app.add_option("--data", o.data,
                 "builtin (this project's own headers and documents), or a UTF-8 text file");
  app.add_option("--layers", o.layers, "Transformer blocks");
  app.add_option("--heads", o.heads, "Attention heads of each block; must divide --d-model");
  app.add_option("--d-model", o.d_model, "Width");
  app.add_option("--context", o.context, "Longest sequence, in characters");
  app.add_option("--sample", o.sample, "Characters of the sample at the end");
  add_feed_forward_options(app, o);
  add_training_options(app, o);
}

data::TextDataset load_text(const GptOptions& o) {
  if (o.data != "builtin") return data::TextDataset::from_file(o.data, {.context = o.context});
  return data::TextDataset::from_string(data::builtin_text(), "the built-in text", {.context = o.context});
}

void print_setup(const auto& model, const data::TextDataset& text, const GptOptions& o) {
  std::cout << "data: " << text.name << ", " << with_commas(std::ssize(text.train))
            << " characters to train, " << with_commas(std::ssize(text.validation)) << " to validate, "
            << text.tokenizer.vocab_size() << " different\n";
  std::cout << "model: GPT, " << o.layers << " layers, " << o.heads << " heads, width " << o.d_model
            << ", context " << o.context << "; " << o.batch * o.accumulate << " sequences a step\n";
  print_size(model, o);
  print_training(o);
}

// What comes after the last step: evaluation, collapse, a sample, the saved folder.
template <class Model>
void finish(const Model& model, const Ema<float>* average, FusionMonitor<float>& monitor,
            const data::TextDataset& text, const GptOptions& o, Rng& rng) {
  const data::TextBatches validation(text.validation, o.batch, o.context);
  std::cout << "validation loss:   " << fixed(train::evaluate_text(model, validation)) << '\n';
  auto result = exported(model);
  if (o.ffn == "exfusion") {
    std::cout << "  after collapse:  " << fixed(train::evaluate_text(result, validation)) << '\n';
  }
  if (average != nullptr) {
    average->copy_to(result);
    std::cout << "  moving average:  " << fixed(train::evaluate_text(result, validation)) << '\n';
  }
  if (o.ffn == "exfusion") std::cout << '\n' << train::fusion_table(monitor.measure(model, o.steps));

  std::cout << "\nsample:\n";
  train::generate(result, {text.validation.front()}, o.sample, {.temperature = 0.8}, rng,
                  [&](std::int32_t token) {
                    std::cout << text.tokenizer.decode(token) << std::flush;
                    return true;
                  });
  std::cout << "\n\n";

  if constexpr (std::same_as<decltype(result), Gpt<float>>) {
    if (o.out.empty()) return;
    io::save_gpt2(result, o.out);
    data::save_vocabulary(text.tokenizer, std::filesystem::path(o.out) / "vocab.json");
    std::cout << "saved in " << o.out
              << " (config.json, model.safetensors, vocab.json); try\n  generate --model " << o.out
              << " --prompt \"The \"\n";
  }
}

// The whole run. `model` is a Gpt with any kind of feed-forward network.
template <class Model>
int train_model(Model model, const data::TextDataset& text, const GptOptions& o, Rng& rng) {
  const Schedule schedule = make_schedule(o);
  AdamW<float> optimizer(
      model, {.lr = o.lr, .beta2 = o.beta2, .weight_decay = o.weight_decay, .bf16_moments = o.bf16_moments});
  std::optional<Ema<float>> average;
  if (o.ema > 0) average.emplace(model, EmaOptions{.decay = o.ema});
  FusionMonitor<float> monitor;
  monitor.measure(model);
  data::TextLoader batches(text.train, {.batch = o.batch, .context = o.context, .seed = o.seed});
  const data::TextBatches validation(text.validation, o.batch, o.context);
  if (!o.out.empty())
    io::make_writable_folder(o.out);  // learn now, not after hours, that nothing can be saved
  print_setup(model, text, o);

  Tape<float> tape;
  const Index tokens_per_step = o.batch * o.accumulate * o.context;
  train::Progress progress(
      {.steps = o.steps, .interval = o.log_interval, .items_per_step = tokens_per_step, .items = "tokens"});
  const train::Interrupt interrupt;
  for (Index step = 0; step < o.steps; ++step) {
    if (interrupt.requested()) return stop(progress, step);
    optimizer.set_learning_rate(rate_at(schedule, step));

    double loss = 0;
    for (Index part = 0; part < o.accumulate; ++part) {
      const auto& [tokens, targets] = batches.next();
      const Context<float> ctx{.tape = &tape,
                               .rng = &rng,
                               .training = true,
                               .recompute = o.recompute,
                               .precision = o.product_precision()};
      const Tensor<float> part_loss = model.loss(ctx, tokens, targets);
      tape.backward(part_loss, 1.0F / static_cast<float>(o.accumulate));
      loss += static_cast<double>(part_loss.item()) / static_cast<double>(o.accumulate);
      tape.clear();
    }
    const double norm = clip(optimizer.parameters(), o.clip);
    require_finite(step, loss, norm);
    optimizer.step();
    if (average) average->update(model);

    progress.step({loss, norm, optimizer.learning_rate()});
    if (evaluation_due(step, o)) {
      const double loss_now = train::evaluate_text(model, validation, o.eval_batches);
      progress.note("step ", step + 1, ": ", evaluation_name(o), fixed(loss_now));
    }
  }
  progress.finish();
  std::cout << "\ntrained " << fixed(batches.epochs(), 1) << " epochs in "
            << train::clock_text(progress.seconds()) << '\n';
  finish(model, average ? &*average : nullptr, monitor, text, o, rng);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  GptOptions o;
  CLI::App app("Trains a character-level GPT with fused experts and collapses it into a dense one.");
  add_options(app, o);
  if (const auto code = parse(app, argc, argv)) return *code;
  settle(app, o);

  const data::TextDataset text = load_text(o);
  const GptConfig config{.vocab_size = text.tokenizer.vocab_size(),
                         .context = o.context,
                         .layers = o.layers,
                         .heads = o.heads,
                         .d_model = o.d_model,
                         .dropout = o.dropout};
  if (o.dry_run) {
    print_plan(config, o, o.context);
    return 0;
  }
  Rng rng(o.seed);
  int code = 0;
  with_chosen_ffn(Gpt<float>(config, rng), o, rng,
                  [&](auto model) { code = train_model(std::move(model), text, o, rng); });
  return code;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
