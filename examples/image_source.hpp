#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/data/cifar.hpp>
#include <exfusion/data/image_processor_file.hpp>
#include <exfusion/data/mnist.hpp>
#include <exfusion/data/shapes.hpp>

#include "image_folder.hpp"
#include "model_source.hpp"

// Where the programs take images from.

namespace exfusion::examples {

/// The names of a model's classes, where they must be those of the images: pictures of a user's own, whose
/// classes have no names but their folders'. Empty otherwise.
inline std::vector<std::string> labels_to_check(const ModelSource& source, const std::string& data) {
  if (!data.starts_with("folder:")) return {};
  const io::JsonConfig config = source.config();
  return config.has("id2label") ? io::read_vit_labels(config) : std::vector<std::string>();
}

/// The images that --data names; pictures of a user's own become squares of `size` pixels. Throws ConfigError
/// for another name, and as the readers do.
inline data::ImageSplit load_images(const std::string& name, Index size) {
  constexpr std::string_view cifar10 = "cifar10:", mnist = "mnist:", folder = "folder:";
  if (name == "builtin") return data::make_shapes_split(10'000, 2'000, 1);
  if (name.starts_with(cifar10)) return data::load_cifar10(name.substr(cifar10.size()));
  if (name.starts_with(mnist)) return data::load_mnist(name.substr(mnist.size()));
  if (name.starts_with(folder)) return load_image_folder(name.substr(folder.size()), size);
  throw ConfigError("--data", "is '", name, "': it must be builtin, cifar10:DIR, mnist:DIR or folder:DIR");
}

/// Throws ConfigError unless a model takes such images and knows as many classes, and, where `labels` are
/// given, unless those are their names.
inline void check_images(const data::ImageDataset& images, const VitConfig& config, const std::string& flag,
                         const std::string& model, const std::vector<std::string>& labels = {}) {
  if (config.image_size != images.height || config.channels != images.channels) {
    throw ConfigError(flag, model, " is a model for ", config.channels, " x ", config.image_size, " x ",
                      config.image_size, " images: these are ", images.channels, " x ", images.height, " x ",
                      images.width);
  }
  if (config.classes != images.classes()) {
    throw ConfigError(flag, model, " is a model for ", config.classes, " classes: these images have ",
                      images.classes());
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] == images.class_names[i] || labels[i].starts_with("LABEL_")) continue;
    throw ConfigError(flag, "class ", i, " is '", labels[i], "' in ", model, " and '", images.class_names[i],
                      "' among these images");
  }
}

/// How the images of a model become numbers: as its preprocessor_config.json says, else as their training
/// part does, which is what train_vit does.
inline data::Normalisation find_normalisation(const ModelSource& source, const data::ImageDataset& train) {
  const auto file = source.path / "preprocessor_config.json";
  std::error_code error;
  if (!source.checkpoint && std::filesystem::exists(file, error))
    return data::load_normalisation(file, train.channels);
  return data::Normalisation::of(train);
}

}  // namespace exfusion::examples
