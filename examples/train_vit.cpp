// Trains a Vision Transformer whose feed-forward networks are fused from experts, collapses it into an
// ordinary dense ViT, and saves that as a Hugging Face folder.
//
//   train_vit                                           rendered shapes, a few minutes on two cores
//   train_vit --data cifar10:DIR --ffn dense --out DIR  CIFAR-10 (binary version); dense, for comparison

#include <iostream>
#include <optional>

#include <exfusion/data/cifar.hpp>
#include <exfusion/data/image_loader.hpp>
#include <exfusion/data/mnist.hpp>
#include <exfusion/data/shapes.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/ema.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/fusion_table.hpp>
#include <exfusion/train/interrupt.hpp>
#include <exfusion/train/progress.hpp>

#include "options.hpp"
#include "training.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;

struct VitOptions : Options {
  std::string data = "builtin";
  Index layers = 4;
  Index heads = 4;
  Index d_model = 128;
  Index patch = 4;  // 64 patches of a 32 x 32 image
  double drop_path = 0;
  double label_smoothing = 0;
  bool augment = true;

  VitOptions() {
    batch = 64;
    steps = 1000;
    lr = 1e-3;            // small models take larger rates than the usual 3e-4
    weight_decay = 0.05;  // usual for ViTs of this size
    beta2 = 0.999;
  }
};

void add_options(CLI::App& app, VitOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(last_wins)->group("Model and data");
  app.add_option("--data", o.data, "builtin (rendered shapes), cifar10:DIR or mnist:DIR");
  app.add_option("--layers", o.layers, "Transformer blocks");
  app.add_option("--heads", o.heads, "Attention heads of each block; must divide --d-model");
  app.add_option("--d-model", o.d_model, "Width");
  app.add_option("--patch", o.patch, "Height and width of a patch, in pixels; must divide the image's");
  app.add_option("--drop-path", o.drop_path,
                 "Probability of skipping the last block, growing up to it, in [0, 1)");
  app.add_option("--label-smoothing", o.label_smoothing,
                 "Share of the target spread over all classes, in [0, 1)");
  app.add_option("--augment", o.augment,
                 "Crop and mirror the training images at random, as is usual for the data");
  add_feed_forward_options(app, o);
  add_training_options(app, o);
}

data::ImageSplit load_images(const VitOptions& o) {
  constexpr std::string_view cifar10 = "cifar10:", mnist = "mnist:";
  if (o.data == "builtin") return data::make_shapes_split(10'000, 2'000, 1);
  if (o.data.starts_with(cifar10)) return data::load_cifar10(o.data.substr(cifar10.size()));
  if (o.data.starts_with(mnist)) return data::load_mnist(o.data.substr(mnist.size()));
  throw ConfigError("--data", "is '", o.data, "': it must be builtin, cifar10:DIR or mnist:DIR");
}

void print_setup(const auto& model, const data::ImageSplit& images, const VitOptions& o) {
  std::cout << "data: " << images.description << '\n';
  std::cout << "model: ViT, " << o.layers << " layers, " << o.heads << " heads, width " << o.d_model << ", "
            << model.config.patches() << " patches of " << o.patch << " x " << o.patch << "; "
            << o.batch * o.accumulate << " images a step\n";
  print_size(model, o);
  print_training(o);
}

std::string text_of(const train::ImageScore& score) {
  return fixed(score.loss) + ", accuracy " + fixed(100 * score.accuracy, 2) + " %";
}

// What comes after the last step: evaluation, collapse, the saved folder.
template <class Model>
void finish(const Model& model, const Ema<float>* average, FusionMonitor<float>& monitor,
            const data::ImageBatches<float>& validation, const std::vector<std::string>& class_names,
            const VitOptions& o) {
  std::cout << "validation loss:   " << text_of(train::evaluate_images(model, validation)) << '\n';
  auto result = exported(model);
  if (o.ffn == "exfusion") {
    std::cout << "  after collapse:  " << text_of(train::evaluate_images(result, validation)) << '\n';
  }
  if (average != nullptr) {
    average->copy_to(result);
    std::cout << "  moving average:  " << text_of(train::evaluate_images(result, validation)) << '\n';
  }
  if (o.ffn == "exfusion") std::cout << '\n' << train::fusion_table(monitor.measure(model, o.steps));

  if constexpr (std::same_as<decltype(result), Vit<float>>) {
    if (o.out.empty()) return;
    io::save_vit(result, o.out, class_names);
    std::cout << "\nsaved in " << o.out << " (config.json, model.safetensors)\n";
  }
}

// The whole run. `model` is a Vit with any kind of feed-forward network.
template <class Model>
int train_model(Model model, const data::ImageSplit& images, const VitOptions& o, Rng& rng) {
  const Schedule schedule = make_schedule(o);
  const auto normalisation = data::Normalisation::of(images.train);
  const data::Augmentation augmentation = o.augment ? images.augmentation : data::Augmentation{};
  AdamW<float> optimizer(
      model, {.lr = o.lr, .beta2 = o.beta2, .weight_decay = o.weight_decay, .bf16_moments = o.bf16_moments});
  std::optional<Ema<float>> average;
  if (o.ema > 0) average.emplace(model, EmaOptions{.decay = o.ema});
  FusionMonitor<float> monitor;
  monitor.measure(model);
  data::ImageLoader<float> batches(images.train, normalisation,
                                   {.batch = o.batch, .seed = o.seed, .augmentation = augmentation});
  const data::ImageBatches<float> validation(images.test, normalisation, o.batch);
  if (!o.out.empty())
    io::make_writable_folder(o.out);  // learn now, not after hours, that nothing can be saved
  print_setup(model, images, o);

  Tape<float> tape;
  train::Progress progress({.steps = o.steps,
                            .interval = o.log_interval,
                            .items_per_step = o.batch * o.accumulate,
                            .items = "images"});
  const train::Interrupt interrupt;
  for (Index step = 0; step < o.steps; ++step) {
    if (interrupt.requested()) return stop(progress, step);
    optimizer.set_learning_rate(rate_at(schedule, step));

    double loss = 0;
    for (Index part = 0; part < o.accumulate; ++part) {
      const auto& [pixels, labels] = batches.next();
      const Context<float> ctx{.tape = &tape,
                               .rng = &rng,
                               .training = true,
                               .recompute = o.recompute,
                               .precision = o.product_precision()};
      const Tensor<float> part_loss =
          cross_entropy(ctx, model(ctx, pixels), labels, {.label_smoothing = o.label_smoothing});
      tape.backward(part_loss, 1.0F / static_cast<float>(o.accumulate));
      loss += static_cast<double>(part_loss.item()) / static_cast<double>(o.accumulate);
      tape.clear();
    }
    const double norm = clip(optimizer.parameters(), o.clip);
    require_finite(step, loss, norm);
    optimizer.step();
    if (average) average->update(model);

    progress.step({loss, norm, optimizer.learning_rate()});
    if (evaluation_due(step, o)) {
      const train::ImageScore score = train::evaluate_images(model, validation, o.eval_batches);
      progress.note("step ", step + 1, ", epoch ", fixed(batches.epochs(), 1), ": ", evaluation_name(o),
                    text_of(score));
    }
  }
  progress.finish();
  std::cout << "\ntrained " << fixed(batches.epochs(), 1) << " epochs in "
            << train::clock_text(progress.seconds()) << '\n';
  finish(model, average ? &*average : nullptr, monitor, validation, images.train.class_names, o);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  VitOptions o;
  CLI::App app("Trains a Vision Transformer with fused experts and collapses it into a dense one.");
  add_options(app, o);
  if (const auto code = parse(app, argc, argv)) return *code;
  settle(app, o);

  const data::ImageSplit images = load_images(o);
  const VitConfig config{.image_size = images.train.height,
                         .channels = images.train.channels,
                         .patch_size = o.patch,
                         .classes = images.train.classes(),
                         .layers = o.layers,
                         .heads = o.heads,
                         .d_model = o.d_model,
                         .dropout = o.dropout,
                         .drop_path = o.drop_path};
  if (o.dry_run) {
    print_plan(config, o);
    return 0;
  }
  Rng rng(o.seed);
  int code = 0;
  with_chosen_ffn(Vit<float>(config, rng), o, rng,
                  [&](auto model) { code = train_model(std::move(model), images, o, rng); });
  return code;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
