// A whole small trainer, as a user would write it: upcycle, train, collapse, save, load. Built against the
// header-only and against the compiled target; fails when a number is not what it must be. The first argument
// is a folder to write to.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <exfusion/exfusion.hpp>
#include <exfusion/io/gpt2.hpp>

#include "second_unit.hpp"

#if defined(EXPECT_COMPILED) != defined(EXFUSION_COMPILED)
#error "EXFUSION_COMPILED does not come with the target exfusion::compiled alone"
#endif

namespace ex = exfusion;

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "not so: %s\n", what);
  ++failures;
}

}  // namespace

int main(int argc, char** argv) {
  const std::filesystem::path folder = argc > 1 ? argv[1] : "consumer-output";
  ex::Rng rng{1337};
  const ex::Gpt<float> dense({.vocab_size = 11, .context = 8, .layers = 1, .heads = 2, .d_model = 16}, rng);
  auto model = ex::upcycle(dense, ex::LearnedFusion<float>{}, {.experts = 4}, rng);
  ex::AdamW<float> optimizer(model, {.lr = 1e-2});
  ex::Tape<float> tape;
  ex::IntTensor tokens({4, 8}), targets({4, 8});
  for (ex::Index i = 0; i < tokens.size(); ++i) {
    tokens.data()[i] = static_cast<std::int32_t>(i % 11);
    targets.data()[i] = static_cast<std::int32_t>((i + 1) % 11);
  }
  float first = 0, last = 0;
  for (int step = 0; step < 50; ++step) {
    const ex::Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    const auto loss = ex::cross_entropy(ctx, model(ctx, tokens), targets);
    tape.backward(loss);
    optimizer.step();
    last = loss.item();
    if (step == 0) first = last;
    tape.clear();
  }
  expect(std::isfinite(last) && last < first / 2, "the loss falls");

  const auto exported = ex::collapse(model);
  expect(consumer::parameters_of(exported) == ex::exported_parameter_count<float>(model),
         "both units count the same parameters");

  ex::io::save_gpt2(exported, folder);
  const auto loaded = ex::io::load_gpt2<float>(folder);
  const auto before = exported({}, tokens), after = loaded({}, tokens);
  expect(std::ranges::equal(before.values(), after.values()),
         "the model read gives the logits of the one written");
  expect(consumer::checkpoint_comes_back(folder / "numbers.ckpt"), "a checkpoint is read as it was written");
  expect(consumer::zlib_reads_back(folder / "numbers.gz"), "gzipped numbers are read as they were written");

  std::printf("loss %.3f -> %.3f\n", static_cast<double>(first), static_cast<double>(last));
  return failures == 0 ? 0 : 1;
}
