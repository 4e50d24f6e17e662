// A whole small trainer against the header-only target: upcycle, train, collapse.

#include <cmath>
#include <cstdio>

#include <exfusion/exfusion.hpp>

namespace ex = exfusion;

ex::Index parameters_seen_by_second_unit(const ex::Gpt<float>& model);

int main() {
  ex::Rng rng{1337};
  const ex::Gpt<float> dense({.vocab_size = 11, .context = 8, .layers = 1, .heads = 2, .d_model = 16}, rng);
  auto model = ex::upcycle(dense, ex::LearnedFusion<float>{}, {.experts = 4}, rng);
  ex::AdamW<float> optimizer(model, {.lr = 1e-2});
  ex::Tape<float> tape;
  ex::IntTensor tokens({4, 8}), targets({4, 8});
  float first = 0, last = 0;
  for (int step = 0; step < 50; ++step) {
    for (ex::Index i = 0; i < tokens.size(); ++i) {
      tokens.data()[i] = static_cast<std::int32_t>(i % 11);
      targets.data()[i] = static_cast<std::int32_t>((i + 1) % 11);
    }
    const ex::Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    const auto loss = ex::cross_entropy(ctx, model(ctx, tokens), targets);
    tape.backward(loss);
    optimizer.step();
    last = loss.item();
    if (step == 0) first = last;
    tape.clear();
  }
  const auto exported = ex::collapse(model);
  const ex::Index count = parameters_seen_by_second_unit(exported);
  std::printf("loss %.3f -> %.3f, %lld parameters exported\n", static_cast<double>(first),
              static_cast<double>(last), static_cast<long long>(count));
  const bool learned = std::isfinite(last) && last < first / 2;
  return learned && count == ex::exported_parameter_count<float>(model) ? 0 : 1;
}
