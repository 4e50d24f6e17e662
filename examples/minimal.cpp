// The smallest program that trains a Transformer with fused experts and exports it.

#include <iostream>

#include <exfusion/data/builtin_text.hpp>
#include <exfusion/data/text.hpp>
#include <exfusion/data/text_loader.hpp>
#include <exfusion/exfusion.hpp>
#include <exfusion/io/gpt2.hpp>

namespace ex = exfusion;

int main() {
  const auto text = ex::data::TextDataset::from_string(ex::data::builtin_text(), "built-in text");
  ex::data::TextLoader batches(text.train, {.batch = 16, .context = 64});

  ex::Rng rng{1337};
  const ex::GptConfig config{
      .vocab_size = text.tokenizer.vocab_size(), .context = 64, .layers = 2, .heads = 2, .d_model = 64};
  const ex::Gpt<float> dense(config, rng);
  auto model = ex::upcycle(dense, ex::LearnedFusion<float>{}, {.experts = 4}, rng);  // fused experts

  ex::AdamW<float> optimizer(model, {.lr = 3e-3, .weight_decay = 0.1});
  ex::Tape<float> tape;
  for (int step = 1; step <= 200; ++step) {
    const auto& [tokens, targets] = batches.next();
    const ex::Context<float> ctx{.tape = &tape, .rng = &rng, .training = true};
    const auto loss = model.loss(ctx, tokens, targets);
    if (step % 50 == 0) std::cout << "step " << step << ", loss " << loss.item() << '\n';
    tape.backward(loss);
    optimizer.step();
    tape.clear();
  }
  const auto exported = ex::collapse(model);    // an ordinary dense Gpt<float>
  ex::io::save_gpt2(exported, "minimal-gpt2");  // opens in Hugging Face
  std::cout << "saved in minimal-gpt2\n";
}
