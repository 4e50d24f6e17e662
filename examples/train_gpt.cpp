// Trains a GPT, on characters or byte pairs, whose feed-forward networks are fused from experts, collapses it
// into an ordinary dense GPT, and saves that as a Hugging Face folder which `generate` reads.
//
//   train_gpt                                     the built-in text, a few minutes on two cores
//   train_gpt --data FILE --ffn dense --out DIR   any UTF-8 text; dense, for comparison
//   train_gpt --resume DIR                        goes on with a run that was stopped

#include <filesystem>
#include <iostream>
#include <optional>

#include <exfusion/data/bpe_trainer.hpp>
#include <exfusion/data/builtin_text.hpp>
#include <exfusion/data/text_loader.hpp>
#include <exfusion/data/token_dataset.hpp>
#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/models/gpt_decoder.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/fusion_table.hpp>
#include <exfusion/train/sample.hpp>

#include "tokenizer_choice.hpp"
#include "training.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;

struct GptOptions : Options {
  std::string tokenizer = "char";
  Index layers = 4;
  Index heads = 4;
  Index d_model = 128;
  Index context = 128;  // two or three lines of characters
  Index sample = 300;
  Index sample_interval = 0;

  GptOptions() {
    batch = 32;
    steps = 1500;
    lr = 1e-3;     // small models take larger rates than the usual 3e-4
    beta2 = 0.99;  // below the usual 0.999: a batch holds few tokens, and the run is short
  }
};

void add_options(CLI::App& app, GptOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(last_wins)->group("Model and data");
  app.add_option(
      "--data", o.data,
      "builtin (this project's own headers and documents), a UTF-8 text file, or a folder with train.bin and "
      "val.bin, files of tokens that `tokenize` or nanoGPT wrote");
  app.add_option(
      "--tokenizer", o.tokenizer,
      "char: the characters of the text; bpe:N: a byte-level BPE of N tokens, learned from the text; or a "
      "folder with GPT-2's tokenizer.json, vocab.json and merges.txt, or encoder.json and vocab.bpe");
  app.add_option("--layers", o.layers, "Transformer blocks");
  app.add_option("--heads", o.heads, "Attention heads of each block; must divide --d-model");
  app.add_option("--d-model", o.d_model, "Width");
  app.add_option("--context", o.context, "Longest sequence, in tokens");
  app.add_option("--sample", o.sample, "Tokens of a sample");
  app.add_option("--sample-interval", o.sample_interval,
                 "Steps between two samples, which go into the report; 0: one at the end only");
  add_feed_forward_options(app, o);
  add_training_options(app, o);
  add_run_options(app, o, "tokens");
}

/// The tokenizer that --tokenizer asks for; without tokens: the characters of the text.
data::Tokenizer chosen_tokenizer(const GptOptions& o, std::string_view text) {
  if (o.tokenizer == "char") return {};
  const auto size = size_to_learn(o.tokenizer);
  if (!size) return data::load_tokenizer(o.tokenizer);
  data::BpeTrainer trainer;
  trainer.add(text);
  return trainer.train(*size);
}

/// The tokenizer of the model that the run begins or goes on with; without tokens: there is none.
data::Tokenizer given_tokenizer(const RunStart& start, const TextModel* initial) {
  if (start.checkpoint)
    return data::tokenizer_from_state(start.saved("vocabulary"), start.checkpoint->path());
  return initial != nullptr ? initial->tokenizer : data::Tokenizer();
}

/// The text, in the vocabulary of the model that the run begins or goes on with, if there is one.
data::TokenDataset load_text(const GptOptions& o, const RunStart& start, const TextModel* initial) {
  data::Tokenizer tokenizer = given_tokenizer(start, initial);
  const bool is_given = tokenizer.vocab_size() > 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(o.data, ignored)) {
    if (!is_given && (o.tokenizer == "char" || size_to_learn(o.tokenizer)))
      throw ConfigError("--data", o.data,
                        " is a folder: if it has tokens, name their tokenizer by --tokenizer");
    if (!is_given) tokenizer = data::load_tokenizer(o.tokenizer);
    return data::TokenDataset::from_folder(o.data, std::move(tokenizer), o.context);
  }
  const bool is_builtin = o.data == "builtin";
  const std::string read = is_builtin ? std::string() : read_file(o.data);
  const std::string_view text = is_builtin ? data::builtin_text() : read;
  const data::TextOptions options{.context = o.context,
                                  .tokenizer = is_given ? tokenizer : chosen_tokenizer(o, text)};
  return data::TokenDataset::from_text(
      data::TextDataset::from_string(text, is_builtin ? "the built-in text" : o.data, options));
}

/// The shape of the model that a run trains: as the options say, or as it was saved.
GptConfig model_config(const GptOptions& o, const RunStart& start, const TextModel* initial,
                       Index vocab_size) {
  GptConfig config{.vocab_size = vocab_size,
                   .context = o.context,
                   .layers = o.layers,
                   .heads = o.heads,
                   .d_model = o.d_model};
  if (initial != nullptr) config = initial->model.config;
  if (start.checkpoint)
    config =
        io::read_gpt2_config(io::JsonConfig::from_object(start.checkpoint->path(), start.saved("model")));
  if (config.context < o.context) {
    throw ConfigError("--context", "is ", o.context, ": the model of ", o.init_from, " has ", config.context);
  }
  config.dropout = o.dropout;
  return config;
}

/// The dense model that a run begins with. One that goes on only needs its shape.
Gpt<float> make_model(const GptConfig& config, const TextModel* initial, Rng& rng) {
  Gpt<float> model(config, rng);
  if (initial != nullptr) copy_parameters(initial->model, model);
  return model;
}

/// Tells whether it is the same text in the same vocabulary.
std::string hash_of(const data::TokenDataset& text) {
  const std::string vocabulary = data::tokenizer_state(text.tokenizer).dump();
  return io::xxh3_text(text.train.bytes()) + io::xxh3_text(text.validation.bytes()) +
         io::xxh3_text(std::as_bytes(std::span(vocabulary)));
}

std::string describe(const GptConfig& config) {
  return "GPT, " + std::to_string(config.layers) + " layers, " + std::to_string(config.heads) +
         " heads, width " + std::to_string(config.d_model) + ", context " + std::to_string(config.context);
}

void print_setup(const auto& model, const data::TokenDataset& text, const GptOptions& o) {
  if (o.quiet) return;
  std::cout << "data: " << text.name << ", " << with_commas(text.train.size()) << ' ' << text.tokenizer.unit()
            << " to train, " << with_commas(text.validation.size()) << " to validate, "
            << with_commas(text.tokenizer.vocab_size()) << " different\n";
  std::cout << "model: " << describe(model.config) << "; " << o.batch * o.accumulate << " sequences of "
            << o.context << " a step\n";
  print_size(model, o);
  print_training(o);
}

template <class Model>
train::ValidationRow evaluate(const Model& model, const Ema<float>* average,
                              const data::TextBatches& validation, Index most) {
  train::ValidationRow row{.loss = train::evaluate_text(model, validation, most)};
  if (average == nullptr) return row;
  auto averaged = exported(model);
  average->copy_to(averaged);
  row.average_loss = train::evaluate_text(averaged, validation, most);
  return row;
}

/// A text that begins with the first character of the validation data.
template <class Model>
std::string sample(const Model& model, const data::TokenDataset& text, Index length, Rng rng) {
  std::vector<std::int32_t> tokens;
  const std::int32_t first = text.validation[0];
  train::generate(GptDecoder(model), std::span(&first, 1), length, {.temperature = 0.8}, rng,
                  [&](std::int32_t token) {
                    tokens.push_back(token);
                    return true;
                  });
  return text.tokenizer.decode(tokens);
}

/// What comes after the last step: evaluation, collapse, a sample, the saved folder.
template <class Model, class Run>
void finish(const Model& model, Run& run, const data::TokenDataset& text, const GptOptions& o) {
  const data::TextBatches validation(text.validation, o.batch, o.context);
  train::ResultRow row{.step = run.step(), .loss = train::evaluate_text(model, validation)};
  std::cout << "validation loss:   " << fixed(row.loss) << '\n';
  auto result = exported(model);
  if (o.ffn == "exfusion") {
    row.collapsed_loss = train::evaluate_text(result, validation);
    std::cout << "  after collapse:  " << fixed(*row.collapsed_loss) << '\n';
  }
  if (run.average() != nullptr) {
    run.average()->copy_to(result);
    row.average_loss = train::evaluate_text(result, validation);
    std::cout << "  moving average:  " << fixed(*row.average_loss) << '\n';
  }
  run.log().write(row);
  if (o.ffn == "exfusion") std::cout << '\n' << train::fusion_table(run.measure());

  const std::string written = sample(result, text, o.sample, Rng(o.seed));
  std::cout << "\nsample:\n" << written << "\n\n";
  run.log().write(train::SampleRow{.step = run.step(), .text = written});

  if constexpr (std::same_as<decltype(result), Gpt<float>>) {
    if (o.out.empty()) return;
    io::save_gpt2(result, o.out, text.tokenizer.end_of_text());
    data::save_tokenizer(text.tokenizer, o.out);
    std::cout << "saved in " << o.out << " (config.json, model.safetensors, "
              << (text.tokenizer.end_of_text() ? "tokenizer.json" : "vocab.json")
              << ", report.html); try\n  generate --model " << o.out << " --prompt \"The \"\n";
  }
}

/// The whole run. `model` is a Gpt with any kind of feed-forward network.
template <class Model>
int train_model(Model model, const data::TokenDataset& text, const GptOptions& o, const RunStart& start,
                Rng& rng) {
  data::TextLoader batches(text.train, {.batch = o.batch, .context = o.context, .seed = o.seed});
  const data::TextBatches validation(text.validation, o.batch, o.context);
  const nlohmann::json about{{"data_xxh3", hash_of(text)},
                             {"vocabulary", data::tokenizer_state(text.tokenizer)},
                             {"model", io::gpt2_config(model.config, "float32")}};
  train::TrainingOptions options = training_options(model.config, o, start, about, o.context);
  train::TrainingRun<float, Model, data::TextLoader> run(model, batches, rng, std::move(options),
                                                         run_row(model, describe(model.config), o, "tokens"),
                                                         start.checkpoint.get());
  print_setup(model, text, o);
  say_start(run, start, o);

  while (run.begin_step()) {
    for (Index part = 0; part < o.accumulate && run.goes_on(); ++part) {
      const data::TextBatch& batch = batches.next();
      run.pass([&](const Context<float>& ctx) {
        return model.loss(ctx, batch.tokens, batch.targets, {.label_smoothing = o.label_smoothing});
      });
    }
    if (!run.end_step()) continue;
    if (o.sample_interval > 0 && run.step() % o.sample_interval == 0) {
      run.log().write(train::SampleRow{
          .step = run.step(),
          .text = sample(model, text, o.sample, Rng(o.seed + static_cast<std::uint64_t>(run.step())))});
    }
    if (evaluation_due(run.step(), o)) {
      run.evaluate([&] { return evaluate(model, run.average(), validation, o.eval_batches); });
      refresh_report(run, o);
    }
  }
  if (const auto code = code_of_ending(run, start, o)) return *code;
  std::cout << "\ntrained " << fixed(batches.epochs(), 1) << " epochs in " << train::clock_text(run.seconds())
            << '\n';
  finish(model, run, text, o);
  refresh_report(run, o);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  GptOptions o;
  CLI::App app("Trains a GPT with fused experts and collapses it into a dense one.");
  add_options(app, o);
  if (const auto code = parse(app, argc, argv)) return *code;
  RunStart start = gather_options(app, o, "train_gpt");
  const std::optional<ModelSource> source = find_initial(app, o, start);
  settle(app, o, "tokens", o.context);
  keep_settings(app, o, start);

  std::optional<TextModel> loaded;
  if (source) loaded = load_text_model(*source);
  const TextModel* initial = loaded ? &*loaded : nullptr;
  const data::TokenDataset text = load_text(o, start, initial);
  check_data(start, o, hash_of(text));
  const GptConfig config = model_config(o, start, initial, text.tokenizer.vocab_size());
  if (o.dry_run) {
    std::cout << train::memory_table(plan(config, o, o.context));
    return 0;
  }
  Rng rng(o.seed);
  int code = 0;
  Gpt<float> dense = make_model(config, initial, rng);
  loaded.reset();
  with_ffn<float>(std::move(dense), ffn_config(o), rng, [&](auto model) {
    if (source && source->has_experts()) train::read_model<float>(*source->checkpoint, model);
    code = train_model(std::move(model), text, o, start, rng);
  });
  return code;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
