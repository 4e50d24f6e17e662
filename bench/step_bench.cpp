// Times whole training steps of a GPT, dense and with fused experts, and prints JSON: milliseconds of every
// step. bench/peers/compare.py runs it in turns with the same model in PyTorch.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string_view>

#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/ops/cross_entropy.hpp>
#include <exfusion/optim/adamw.hpp>

namespace exfusion {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

struct Options {
  std::string_view model = "dense";
  int steps = 5;
  bool profile = false;
};

constexpr GptConfig config{.vocab_size = 65, .context = 256, .layers = 6, .heads = 6, .d_model = 384};
constexpr Index batch = 16;

IntTensor random_tokens(Rng& rng) {
  IntTensor tokens({batch, config.context});
  for (auto& token : tokens.values()) token = static_cast<std::int32_t>(rng.below(config.vocab_size));
  return tokens;
}

/// Runs one warm-up step and `options.steps` measured ones.
void run(const auto& model, const Options& options, Rng& rng) {
  const IntTensor tokens = random_tokens(rng), targets = random_tokens(rng);
  AdamW<float> optimizer(model);
  Tape<float> tape;
  std::cout << "{\"model\": \"" << options.model << "\", \"ms\": [";
  for (int step = 0; step <= options.steps; ++step) {
    const auto start = Clock::now();
    const Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    const Tensor<float> loss = ops::cross_entropy(ctx, model(ctx, tokens), targets);
    const auto forward = Clock::now();
    tape.backward(loss);
    const auto backward = Clock::now();
    optimizer.step();
    tape.clear();
    const auto end = Clock::now();
    if (step > 0) std::cout << (step > 1 ? ", " : "") << milliseconds(end - start);
    if (options.profile && step == options.steps) {
      std::cerr << "forward " << milliseconds(forward - start) << " ms, backward "
                << milliseconds(backward - forward) << " ms, optimizer " << milliseconds(end - backward)
                << " ms\n";
    }
  }
  std::cout << "]}\n";
}

}  // namespace
}  // namespace exfusion

int main(int argc, char** argv) {
  using namespace exfusion;
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--profile") {
      options.profile = true;
    } else if (argument == "dense" || argument == "fused") {
      options.model = argument;
    } else if ((options.steps = std::atoi(argv[i])) < 1) {
      std::cerr << "usage: bench_step [dense|fused] [steps] [--profile]\n";
      return 2;
    }
  }
  Rng rng(1);
  const Gpt<float> dense(config, rng);
  if (options.model == "dense") {
    run(dense, options, rng);
  } else {
    run(upcycle(dense, {.experts = 4}, rng), options, rng);
  }
}
