// Continues a text with a model that train_gpt saved.
//
//   generate --model DIR --prompt "The "

#include <filesystem>
#include <iostream>
#include <string>

#include <exfusion/data/vocabulary_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/sample.hpp>

#include "program.hpp"

namespace {

using namespace exfusion;

struct GenerateOptions {
  std::string model;
  std::string prompt = "\n";
  Index tokens = 500;
  train::SampleOptions sample;
  std::uint64_t seed = 1337;
  int threads = 0;
};

void add_options(CLI::App& app, GenerateOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(examples::last_wins);
  app.add_option("--model", o.model, "Folder with config.json, model.safetensors and vocab.json")->required();
  app.add_option("--prompt", o.prompt, "Text to continue");
  app.add_option("--tokens", o.tokens, "Characters to add");
  app.add_option("--temperature", o.sample.temperature,
                 "Divides the logits; 0: always the likeliest character");
  app.add_option("--top-k", o.sample.top_k, "Choose among the k likeliest characters; 0: among all");
  app.add_option("--seed", o.seed, "Of the random choices");
  app.add_option("--threads", o.threads, "Threads [one per core]");
}

}  // namespace

int main(int argc, char** argv) try {
  GenerateOptions o;
  CLI::App app("Continues a text with a model that train_gpt saved.");
  add_options(app, o);
  if (const auto code = examples::parse(app, argc, argv)) return *code;
  examples::require(o.tokens >= 0, "--tokens", o.tokens, "0 or more");
  examples::set_threads(o.threads);

  const std::filesystem::path folder = o.model;
  const Gpt<float> model = io::load_gpt2<float>(folder);
  const data::CharTokenizer tokenizer = data::load_vocabulary(folder / "vocab.json");
  if (tokenizer.vocab_size() != model.config.vocab_size) {
    throw FormatError(o.model, "vocab.json has ", tokenizer.vocab_size(), " tokens, the model ",
                      model.config.vocab_size);
  }
  const std::vector<std::int32_t> prompt = tokenizer.encode(o.prompt, "--prompt");
  Rng rng(o.seed);
  const train::Interrupt interrupt;
  std::cout << o.prompt << std::flush;
  train::generate(model, prompt, o.tokens, o.sample, rng, [&](std::int32_t token) {
    std::cout << tokenizer.decode(token) << std::flush;
    return !interrupt.requested();
  });
  std::cout << '\n';
  return interrupt.requested() ? examples::interrupted : 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
