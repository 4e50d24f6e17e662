// Measures a model on data: loss, perplexity and bits per byte of a text, loss and accuracy of images.
//
//   evaluate MODEL --data book.txt
//   evaluate MODEL --data cifar10:DIR
//
// MODEL is a folder in Hugging Face's layout (timm's, too), a run's folder, a checkpoint, what `convert
// upcycle` wrote, or a GGUF file.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <exfusion/data/text_loader.hpp>
#include <exfusion/data/token_file.hpp>
#include <exfusion/io/npy.hpp>
#include <exfusion/io/safetensors.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/units.hpp>

#include "image_source.hpp"
#include "model_source.hpp"
#include "program.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;

struct EvaluateOptions {
  std::string model;
  std::string data;
  std::string logits;
  Index context = 0;
  Index batch = 8;
  int threads = 0;
};

void add_options(CLI::App& app, EvaluateOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(last_wins);
  app.add_option("model", o.model,
                 "Folder in Hugging Face's or timm's layout, run, checkpoint, fused model or GGUF file")
      ->required();
  app.add_option(
         "--data", o.data,
         "GPT: a text, or a file of tokens (.bin). ViT: cifar10:DIR or mnist:DIR, of which the test part is "
         "taken, or a safetensors file with \"images\" [N, C, H, W], normalised, and \"labels\" [N]")
      ->required();
  app.add_option("--logits", o.logits,
                 "Write all logits into this .npy file: [windows, context, vocabulary] or "
                 "[images, classes]");
  app.add_option("--context", o.context, "Tokens of a window; 0: as many as the model takes");
  app.add_option("--batch", o.batch, "Windows or images at once");
  app.add_option("--threads", o.threads, "0: one per core");
}

std::string number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6f", value);
  return text;
}

/// The tokens of --data, in memory or in a file.
struct Tokens {
  std::optional<data::TokenFile> file;
  std::vector<std::int32_t> memory;
  data::TokenView view;
};

Tokens load_tokens(const EvaluateOptions& o, const ModelSource& source, const Gpt<float>& model) {
  Tokens tokens;
  if (o.data.ends_with(".bin")) {
    tokens.file.emplace(o.data);
    tokens.file->check_tokens(model.config.vocab_size, o.data);
    tokens.view = tokens.file->tokens();
    return tokens;
  }
  const auto tokenizer = find_tokenizer(source);
  if (!tokenizer)
    throw ConfigError("--data", o.data, " is a text, and ", o.model,
                      " has no tokenizer: give a file of tokens");
  tokens.memory = tokenizer->encode(read_file(o.data), o.data);
  tokens.view = tokens.memory;
  return tokens;
}

/// Bytes of text that the first `count` targets stand for; an end of a text stands for none.
double bytes_of(const data::Tokenizer& tokenizer, data::TokenView tokens, Index count) {
  std::vector<std::size_t> lengths;
  for (std::int32_t token = 0; token < tokenizer.vocab_size(); ++token)
    lengths.push_back(token == tokenizer.end_of_text() ? 0 : tokenizer.decode(token).size());
  double bytes = 0;
  for (Index i = 1; i <= count; ++i) {
    const auto token = static_cast<std::size_t>(tokens[i]);
    if (token < lengths.size()) bytes += static_cast<double>(lengths[token]);
  }
  return bytes;
}

void evaluate_gpt(const EvaluateOptions& o, const ModelSource& source) {
  const Gpt<float> model = load_gpt(source);
  const Index context = o.context == 0 ? model.config.context : o.context;
  require(context >= 1 && context <= model.config.context, "--context", o.context,
          ("0 to " + std::to_string(model.config.context)).c_str());
  const Tokens tokens = load_tokens(o, source, model);
  const data::TextBatches batches(tokens.view, o.batch, context);
  const double loss = train::evaluate_text(model, batches);
  std::cout << "tokens: " << train::with_commas(batches.windows() * context) << " in windows of " << context
            << "\nloss: " << number(loss) << "\nperplexity: " << number(std::exp(loss)) << '\n';
  const auto tokenizer = find_tokenizer(source);
  const Index predicted = batches.windows() * context;
  const double bytes = tokenizer ? bytes_of(*tokenizer, tokens.view, predicted) : 0;
  if (bytes > 0) {
    const double bits = loss * static_cast<double>(predicted) / std::numbers::ln2;
    std::cout << "bits per byte: " << number(bits / bytes) << '\n';
  }
  if (o.logits.empty()) return;
  io::write_npy(o.logits, {batches.windows(), context, model.config.vocab_size}, [&](const auto& append) {
    for (Index i = 0; i < batches.size(); ++i)
      append(std::span<const float>(model({}, batches[i].tokens).values()));
  });
}

void print_images(Index count, const train::ImageScore& score) {
  std::cout << "images: " << train::with_commas(count) << "\nloss: " << number(score.loss)
            << "\naccuracy: " << number(score.accuracy) << '\n';
}

/// Calls `use(logits)` for the images [N, C, H, W], a batch at a time.
void for_each_batch(const Vit<float>& model, const Tensor<float>& images, Index batch,
                    const std::function<void(Index, const Tensor<float>&)>& use) {
  const Shape& shape = images.shape();
  const Index count = shape[0], size = count > 0 ? images.size() / count : 0;
  for (Index begin = 0; begin < count; begin += batch) {
    const Index part = std::min(batch, count - begin);
    const Tensor<float> some(images.data() + begin * size, {part, shape[1], shape[2], shape[3]});
    use(begin, model({}, some));
  }
}

/// A safetensors file: numbers as the model takes them.
void evaluate_tensors(const EvaluateOptions& o, const Vit<float>& model) {
  const io::SafetensorsReader file(o.data);
  const Tensor<float> images = file.read<float>("images");
  const auto& config = model.config;
  const Shape wanted{images.shape().rank() > 0 ? images.shape()[0] : 0, config.channels, config.image_size,
                     config.image_size};
  if (images.shape() != wanted || wanted[0] == 0)
    throw FormatError(o.data, "images is ", images.shape(), ": the model takes ", wanted);
  if (file.contains("labels")) {
    const IntTensor labels = file.read_integers("labels");
    if (labels.size() != wanted[0])
      throw FormatError(o.data, "has ", labels.size(), " labels for ", wanted[0], " images");
    double loss = 0, hits = 0;
    for_each_batch(model, images, o.batch, [&](Index begin, const Tensor<float>& logits) {
      const IntTensor some({logits.shape()[0]},
                           labels.values().subspan(static_cast<std::size_t>(begin),
                                                   static_cast<std::size_t>(logits.shape()[0])));
      const train::ImageScore score = train::score_logits(logits, some);
      loss += score.loss * static_cast<double>(some.size());
      hits += score.accuracy * static_cast<double>(some.size());
    });
    const auto count = static_cast<double>(labels.size());
    print_images(labels.size(), {loss / count, hits / count});
  }
  if (o.logits.empty()) return;
  io::write_npy(o.logits, {wanted[0], config.classes}, [&](const auto& append) {
    for_each_batch(model, images, o.batch, [&](Index, const Tensor<float>& logits) {
      append(std::span<const float>(logits.values()));
    });
  });
}

void evaluate_vit(const EvaluateOptions& o, const ModelSource& source) {
  const Vit<float> model = load_vit(source);
  if (o.data.ends_with(".safetensors")) return evaluate_tensors(o, model);
  const data::ImageSplit images = load_images(o.data, model.config.image_size);
  check_images(images.test, model.config, "--data", o.model, labels_to_check(source, o.data));
  const data::ImageBatches<float> batches(images.test, find_normalisation(source, images.train), o.batch);
  print_images(images.test.count(), train::evaluate_images(model, batches));
  if (o.logits.empty()) return;
  io::write_npy(o.logits, {images.test.count(), model.config.classes}, [&](const auto& append) {
    for (Index i = 0; i < batches.size(); ++i)
      append(std::span<const float>(model({}, batches[i].images).values()));
  });
}

}  // namespace

int main(int argc, char** argv) try {
  EvaluateOptions o;
  CLI::App app("Measures a model on data.");
  add_options(app, o);
  if (const auto code = parse(app, argc, argv)) return *code;
  require(o.batch >= 1, "--batch", o.batch, "at least 1");
  set_threads(o.threads);
  const ModelSource source = open_model(o.model);
  for (const std::string& note : source.notes) std::cerr << "note: " << note << '\n';
  if (source.is_vit()) {
    evaluate_vit(o, source);
  } else {
    evaluate_gpt(o, source);
  }
  return 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
