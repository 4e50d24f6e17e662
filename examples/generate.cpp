// Continues a text with a model that train_gpt saved.
//
//   generate --model DIR --prompt "The "

#include <iostream>
#include <string>
#include <vector>

#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/sample.hpp>

#include "model_source.hpp"
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
  app.add_option("--model", o.model,
                 "A run's folder, one of its checkpoints, or a folder with config.json, "
                 "model.safetensors and vocab.json")
      ->required();
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

  const examples::ModelSource source = examples::open_model(o.model);
  const examples::TextModel loaded = examples::load_text_model(source);
  for (const std::string& note : source.notes) std::cerr << "note: " << note << '\n';
  const std::vector<std::int32_t> prompt = loaded.tokenizer.encode(o.prompt, "--prompt");
  Rng rng(o.seed);
  const train::Interrupt interrupt;
  std::cout << o.prompt << std::flush;
  train::generate(loaded.model, prompt, o.tokens, o.sample, rng, [&](std::int32_t token) {
    std::cout << loaded.tokenizer.decode(token) << std::flush;
    return !interrupt.requested();
  });
  std::cout << '\n';
  return interrupt.requested() ? examples::interrupted : 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
