// A step of training, and a model written and read where the package can do that.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <exfusion/exfusion.hpp>
#ifdef WITH_IO
#include <exfusion/io/gpt2.hpp>
#endif

namespace ex = exfusion;

int main() {
  ex::Rng rng{1};
  ex::Gpt<float> model({.vocab_size = 5, .context = 4, .layers = 1, .heads = 1, .d_model = 8}, rng);
  ex::AdamW<float> optimizer(model, {.lr = 1e-2});
  const ex::IntTensor tokens({1, 4}), targets({1, 4});
  ex::Tape<float> tape;
  const ex::Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
  const auto loss = model.loss(ctx, tokens, targets);
  tape.backward(loss);
  optimizer.step();
  bool right = std::isfinite(loss.item());
#ifdef WITH_IO
  ex::io::save_gpt2(model, "model");
  const auto before = model({}, tokens), after = ex::io::load_gpt2<float>("model")({}, tokens);
  right = right && std::ranges::equal(before.values(), after.values());
#endif
  std::puts(right ? "ExFusion works" : "ExFusion computes nonsense");
  return right ? 0 : 1;
}
