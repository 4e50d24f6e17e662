// Trains a Vision Transformer whose feed-forward networks are fused from experts, collapses it into an
// ordinary dense ViT, and saves that as a Hugging Face folder.
//
//   train_vit                                           rendered shapes, a few minutes on two cores
//   train_vit --data cifar10:DIR --ffn dense --out DIR  CIFAR-10 (binary version); dense, for comparison
//   train_vit --resume DIR                              goes on with a run that was stopped

#include <iostream>
#include <optional>

#include <exfusion/data/image_loader.hpp>
#include <exfusion/data/mixing.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/confusion.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/fusion_table.hpp>
#include <exfusion/train/gallery.hpp>

#include "image_source.hpp"
#include "training.hpp"

namespace {

using namespace exfusion;
using namespace exfusion::examples;

struct VitOptions : Options {
  Index image_size = 32;
  Index layers = 4;
  Index heads = 4;
  Index d_model = 128;
  Index patch = 4;  // 64 patches of a 32 x 32 image
  double drop_path = 0;
  bool augment = true;
  data::MixOptions mixing = {};

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
  app.add_option(
      "--data", o.data,
      "builtin (rendered shapes), cifar10:DIR, mnist:DIR, or folder:DIR: PNG and JPEG files in a folder for "
      "each class, in DIR/train and DIR/val or all in DIR");
  app.add_option("--image-size", o.image_size,
                 "folder: height and width that pictures are brought to, in pixels");
  app.add_option("--layers", o.layers, "Transformer blocks");
  app.add_option("--heads", o.heads, "Attention heads of each block; must divide --d-model");
  app.add_option("--d-model", o.d_model, "Width");
  app.add_option("--patch", o.patch, "Height and width of a patch, in pixels; must divide the image's");
  app.add_option("--drop-path", o.drop_path,
                 "Probability of skipping the last block, growing up to it, in [0, 1)");
  app.add_option("--augment", o.augment,
                 "Crop and mirror the training images at random, as is usual for the data");
  app.add_option(
      "--mixup", o.mixing.mixup,
      "Mix training images in pairs, each by a share drawn from Beta(a, a) with this a; 0: do not");
  app.add_option("--cutmix", o.mixing.cutmix,
                 "Put a rectangle of another image into training images, its area drawn likewise; 0: do not");
  add_feed_forward_options(app, o);
  add_training_options(app, o);
  add_run_options(app, o, "images");
}

/// Pictures come in the size of the model that the run begins with, unless the user has said otherwise.
void adopt_image_size(CLI::App& app, const VitOptions& o, const ModelSource& source) {
  if (!o.data.starts_with("folder:") || app.get_option("--image-size")->count() > 0) return;
  const io::JsonConfig config = source.config();
  if (config.has("image_size")) put(app, "--image-size", number_text(config.get<Index>("image_size")));
}

/// The shape of the model that a run trains: as the options say, or as it was saved.
VitConfig model_config(const VitOptions& o, const RunStart& start, const Vit<float>* initial,
                       const data::ImageDataset& images) {
  VitConfig config{.image_size = images.height,
                   .channels = images.channels,
                   .patch_size = o.patch,
                   .classes = images.classes(),
                   .layers = o.layers,
                   .heads = o.heads,
                   .d_model = o.d_model};
  if (initial != nullptr) config = initial->config;
  if (start.checkpoint) {
    const auto saved = io::JsonConfig::from_object(start.checkpoint->path(), start.saved("model"));
    config = io::read_vit_config(saved, images.classes());
  }
  check_images(images, config, "--init-from", o.init_from);
  config.dropout = o.dropout;
  config.drop_path = o.drop_path;
  return config;
}

/// The dense model that a run begins with. One that goes on only needs its shape.
Vit<float> make_model(const VitConfig& config, const Vit<float>* initial, Rng& rng) {
  Vit<float> model(config, rng);
  if (initial != nullptr) copy_parameters(*initial, model);
  return model;
}

/// Tells whether they are the same images.
std::string hash_of(const data::ImageSplit& images) {
  std::string text;
  for (const data::ImageDataset* part : {&images.train, &images.test}) {
    text += io::xxh3_text(std::as_bytes(std::span(part->pixels)));
    text += io::xxh3_text(std::as_bytes(std::span(part->labels)));
  }
  return text;
}

std::string describe(const VitConfig& config) {
  return "ViT, " + std::to_string(config.layers) + " layers, " + std::to_string(config.heads) +
         " heads, width " + std::to_string(config.d_model) + ", " + std::to_string(config.patches()) +
         " patches of " + std::to_string(config.patch_size) + " x " + std::to_string(config.patch_size);
}

void print_setup(const auto& model, const data::ImageSplit& images, const VitOptions& o) {
  if (o.quiet) return;
  std::cout << "data: " << images.description << '\n';
  std::cout << "model: " << describe(model.config) << "; " << o.batch * o.accumulate << " images a step\n";
  print_size(model, o);
  print_training(o);
}

std::string text_of(double loss, double accuracy) {
  return fixed(loss) + ", accuracy " + fixed(100 * accuracy, 2) + " %";
}

template <class Model>
train::ValidationRow evaluate(const Model& model, const Ema<float>* average,
                              const data::ImageBatches<float>& validation, Index most) {
  const train::ImageScore score = train::evaluate_images(model, validation, most);
  train::ValidationRow row{.loss = score.loss, .accuracy = score.accuracy};
  if (average == nullptr) return row;
  auto averaged = exported(model);
  average->copy_to(averaged);
  const train::ImageScore of_average = train::evaluate_images(averaged, validation, most);
  row.average_loss = of_average.loss;
  row.average_accuracy = of_average.accuracy;
  return row;
}

/// What comes after the last step: evaluation, collapse, the saved folder.
template <class Model, class Run>
void finish(const Model& model, Run& run, const data::ImageSplit& images,
            const data::Normalisation& normalisation, const VitOptions& o) {
  constexpr Index gallery_size = 24;
  const data::ImageBatches<float> validation(images.test, normalisation, o.batch);
  const train::ImageScore score = train::evaluate_images(model, validation);
  train::ResultRow row{.step = run.step(), .loss = score.loss, .accuracy = score.accuracy};
  std::cout << "validation loss:   " << text_of(score.loss, score.accuracy) << '\n';
  auto result = exported(model);
  if (o.ffn == "exfusion") {
    const train::ImageScore collapsed = train::evaluate_images(result, validation);
    row.collapsed_loss = collapsed.loss;
    row.collapsed_accuracy = collapsed.accuracy;
    std::cout << "  after collapse:  " << text_of(collapsed.loss, collapsed.accuracy) << '\n';
  }
  if (run.average() != nullptr) {
    run.average()->copy_to(result);
    const train::ImageScore averaged = train::evaluate_images(result, validation);
    row.average_loss = averaged.loss;
    row.average_accuracy = averaged.accuracy;
    std::cout << "  moving average:  " << text_of(averaged.loss, averaged.accuracy) << '\n';
  }
  run.log().write(row);
  run.log().write(train::ConfusionRow{.step = run.step(),
                                      .classes = images.test.class_names,
                                      .counts = train::count_confusions(result, validation)});
  run.log().write(train::ImagesRow{
      .step = run.step(),
      .images = train::image_gallery(result, images.test, normalisation, gallery_size, o.seed)});
  if (o.ffn == "exfusion") std::cout << '\n' << train::fusion_table(run.measure());

  if constexpr (std::same_as<decltype(result), Vit<float>>) {
    if (o.out.empty()) return;
    io::save_vit(result, o.out, images.train.class_names);
    data::save_image_processor(normalisation, images.train.height, images.train.width,
                               std::filesystem::path(o.out) / "preprocessor_config.json");
    std::cout << "\nsaved in " << o.out
              << " (config.json, model.safetensors, preprocessor_config.json, report.html)\n";
  }
}

/// The whole run. `model` is a Vit with any kind of feed-forward network.
template <class Model>
int train_model(Model model, const data::ImageSplit& images, const VitOptions& o, const RunStart& start,
                Rng& rng) {
  const auto normalisation = data::Normalisation::of(images.train);
  const data::Augmentation augmentation = o.augment ? images.augmentation : data::Augmentation{};
  data::ImageLoader<float> batches(images.train, normalisation,
                                   {.batch = o.batch, .seed = o.seed, .augmentation = augmentation});
  data::ImageMixer<float> mixer(o.mixing);
  const data::ImageBatches<float> validation(images.test, normalisation, o.batch);
  const nlohmann::json about{{"data_xxh3", hash_of(images)},
                             {"model", io::vit_config(model.config, images.train.class_names, "float32")}};
  train::TrainingOptions options = training_options(model.config, o, start, about);
  train::TrainingRun<float, Model, data::ImageLoader<float>> run(
      model, batches, rng, std::move(options), run_row(model, describe(model.config), o, "images"),
      start.checkpoint.get());
  print_setup(model, images, o);
  say_start(run, start, o);

  while (run.begin_step()) {
    for (Index part = 0; part < o.accumulate && run.goes_on(); ++part) {
      const data::MixedBatch<float>& batch = mixer.mix(batches.next(), rng);
      const MixedTargets targets{batch.labels, batch.partners, batch.share};
      run.pass([&](const Context<float>& ctx) {
        return cross_entropy(ctx, model(ctx, batch.images), targets, {.label_smoothing = o.label_smoothing});
      });
    }
    if (run.end_step() && evaluation_due(run.step(), o)) {
      run.evaluate([&] { return evaluate(model, run.average(), validation, o.eval_batches); });
      refresh_report(run, o);
    }
  }
  if (const auto code = code_of_ending(run, start, o)) return *code;
  std::cout << "\ntrained " << fixed(batches.epochs(), 1) << " epochs in " << train::clock_text(run.seconds())
            << '\n';
  finish(model, run, images, normalisation, o);
  refresh_report(run, o);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  VitOptions o;
  CLI::App app("Trains a Vision Transformer with fused experts and collapses it into a dense one.");
  add_options(app, o);
  if (const auto code = parse(app, argc, argv)) return *code;
  RunStart start = gather_options(app, o, "train_vit");
  const std::optional<ModelSource> source = find_initial(app, o, start);
  if (source) adopt_image_size(app, o, *source);
  settle(app, o, "images", 1);
  if (o.ffn == "exfusion" && o.fusion == "bank" && o.bank_value != "straight_through") {
    require(o.accumulate == 1, "--accumulate", o.accumulate,
            "1 where every batch has its own fusion weights, unless --bank-value is straight_through");
  }
  keep_settings(app, o, start);

  const data::ImageSplit images = load_images(o.data, o.image_size);
  check_data(start, o, hash_of(images));
  std::optional<Vit<float>> loaded;
  if (source) loaded = load_vit(*source);
  const Vit<float>* initial = loaded ? &*loaded : nullptr;
  const VitConfig config = model_config(o, start, initial, images.train);
  if (source)
    check_images(images.train, config, "--init-from", o.init_from, labels_to_check(*source, o.data));
  if (o.dry_run) {
    std::cout << train::memory_table(plan(config, o));
    return 0;
  }
  Rng rng(o.seed);
  int code = 0;
  Vit<float> dense = make_model(config, initial, rng);
  loaded.reset();
  with_ffn<float>(std::move(dense), ffn_config(o), rng, [&](auto model) {
    if (source && source->has_experts()) train::read_model<float>(*source->checkpoint, model);
    code = train_model(std::move(model), images, o, start, rng);
  });
  return code;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
