// Continues a text with a GPT, token by token.
//
//   generate --model DIR --prompt "The "
//   generate --model DIR --prompt-file - < book.txt
//
// DIR is anything that convert and evaluate take as a model, too.

#include <chrono>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <exfusion/data/utf8_stream.hpp>
#include <exfusion/models/gpt_decoder.hpp>
#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/sample.hpp>

#include "model_source.hpp"
#include "program.hpp"

namespace {

using namespace exfusion;

struct GenerateOptions {
  std::string model;
  std::string prompt = "\n";
  std::string prompt_file;
  Index tokens = 500;
  train::SampleOptions sample;
  bool ignore_end_of_text = false;
  bool quiet = false;
  std::uint64_t seed = 1337;
  int threads = 0;
};

void add_options(CLI::App& app, GenerateOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(examples::last_wins);
  app.add_option(
         "--model", o.model,
         "Folder in Hugging Face's layout with its tokenizer, run, checkpoint, fused model or GGUF file")
      ->required();
  CLI::Option* prompt = app.add_option("--prompt", o.prompt, "Text to continue");
  app.add_option("--prompt-file", o.prompt_file, "File with the text to continue; -: standard input")
      ->excludes(prompt);
  app.add_option("--tokens", o.tokens, "Most tokens to add");
  app.add_option("--temperature", o.sample.temperature, "Divides the logits; 0: always the likeliest token");
  app.add_option("--top-k", o.sample.top_k, "Choose among the k likeliest tokens; 0: among all");
  app.add_option("--top-p", o.sample.top_p,
                 "Of these among the fewest likeliest that have this probability together; 1: all");
  app.add_flag("--ignore-end-of-text", o.ignore_end_of_text,
               "Go on after the token that ends a text, which otherwise ends the program");
  app.add_option("--seed", o.seed, "Of the random choices");
  app.add_flag("--quiet", o.quiet, "Do not say at the end how fast it was");
  app.add_option("--threads", o.threads, "0: one per core; what is written does not depend on their number");
}

std::string read_prompt(const GenerateOptions& o) {
  if (o.prompt_file.empty()) return o.prompt;
  if (o.prompt_file != "-") return read_file(o.prompt_file);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

/// Says on standard error how many tokens came in which time, from the first one on: before it the prompt was
/// read.
class Speedometer {
 public:
  void count() {
    if (tokens_++ == 0) first_ = Clock::now();
  }
  void say() const {
    const std::chrono::duration<double> seconds = Clock::now() - first_;
    if (tokens_ < 2) return;
    std::fprintf(stderr, "%lld tokens, %.1f tokens/s\n", static_cast<long long>(tokens_),
                 static_cast<double>(tokens_ - 1) / seconds.count());
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point first_;
  Index tokens_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  GenerateOptions o;
  CLI::App app("Continues a text with a GPT.");
  add_options(app, o);
  if (const auto code = examples::parse(app, argc, argv)) return *code;
  examples::require(o.tokens >= 0, "--tokens", o.tokens, "0 or more");
  train::check(o.sample);
  examples::set_threads(o.threads);

  const examples::ModelSource source = examples::open_model(o.model);
  const auto [model, tokenizer] = examples::load_text_model(source);
  for (const std::string& note : source.notes) std::cerr << "note: " << note << '\n';
  const std::string prompt = read_prompt(o);
  const char* from = o.prompt_file.empty() ? "--prompt" : "--prompt-file";
  const std::vector<std::int32_t> tokens = tokenizer.encode(prompt, from);
  if (tokens.empty()) throw ConfigError(from, "is empty: at least one token is needed");
  if (std::ssize(tokens) > model.config.context) {
    std::cerr << "note: the prompt has " << tokens.size() << " tokens; the model sees the last "
              << model.config.context << " of them\n";
  }
  o.sample.vocab_size = tokenizer.vocab_size();
  const auto end_of_text = o.ignore_end_of_text ? std::nullopt : tokenizer.end_of_text();

  Rng rng(o.seed);
  const train::Interrupt interrupt;
  data::Utf8Stream characters;
  Speedometer speed;
  std::cout << prompt << std::flush;
  train::generate(GptDecoder(model), tokens, o.tokens, o.sample, rng,
                  [&, &vocabulary = tokenizer](std::int32_t token) {
                    if (token == end_of_text) return false;
                    speed.count();
                    std::cout << characters.push(vocabulary.decode(token)) << std::flush;
                    return !interrupt.requested();
                  });
  std::cout << characters.finish() << '\n' << std::flush;
  if (!o.quiet) speed.say();
  return interrupt.requested() ? examples::interrupted : 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
