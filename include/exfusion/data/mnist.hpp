#pragma once

#include <filesystem>
#include <sstream>
#include <string>
#include <utility>

#include <exfusion/data/folder.hpp>
#include <exfusion/data/idx.hpp>
#include <exfusion/data/image.hpp>

namespace exfusion::data {

namespace detail {

/// The file `<part>-<kind>-ubyte` or `<part>.<kind>-ubyte`, plain or gzipped; an empty path when there is
/// none.
inline std::filesystem::path find_idx(const std::filesystem::path& folder, const std::string& stem,
                                      const std::string& kind) {
  for (const char* end : {"", ".gz"}) {
    for (const char* joint : {"-", "."}) {
      auto path = folder / std::string(stem).append(joint).append(kind).append(end);
      if (is_there(path)) return path;
    }
  }
  return {};
}

inline bool has_mnist_part(const std::filesystem::path& folder, const std::string& part) {
  return !find_idx(folder, part + "-images", "idx3-ubyte").empty() ||
         !find_idx(folder, part + "-labels", "idx1-ubyte").empty();
}

inline std::filesystem::path require_idx(const std::filesystem::path& folder, const std::string& stem,
                                         const std::string& kind) {
  auto path = find_idx(folder, stem, kind);
  if (path.empty()) throw IoError(folder.string(), "has no ", stem, "-", kind, " (or .gz)");
  return path;
}

inline ImageDataset read_mnist_part(const std::filesystem::path& folder, const std::string& part) {
  const auto images_path = require_idx(folder, part + "-images", "idx3-ubyte");
  const auto labels_path = require_idx(folder, part + "-labels", "idx1-ubyte");
  IdxArray images = read_idx(images_path, 3);
  const IdxArray labels = read_idx(labels_path, 1);
  if (images.sizes[0] != labels.sizes[0]) {
    throw FormatError(folder.string(), images_path.filename().string(), " has ", images.sizes[0],
                      " images, but ", labels_path.filename().string(), " has ", labels.sizes[0], " labels");
  }
  ImageDataset result{1, images.sizes[1], images.sizes[2], std::move(images.values), {}, {}};
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] > 9) {
      throw FormatError(labels_path.string(), "label ", i, " is ", int{labels.values[i]},
                        ": labels are 0 to 9");
    }
    result.labels.push_back(labels.values[i]);
  }
  for (int digit = 0; digit < 10; ++digit) result.class_names.push_back(std::to_string(digit));
  return result;
}

/// Every fifth image to the test part: MNIST's first and second half come from different writers.
inline ImageSplit split_mnist(const ImageDataset& images) {
  ImageSplit split{images.without_images(), images.without_images(), {}, {}};
  for (Index i = 0; i < images.count(); ++i) (i % 5 == 4 ? split.test : split.train).append(images, i);
  return split;
}

}  // namespace detail

/// MNIST, or a data set in its form (10 classes, IDX files, plain or gzipped): images [1, H, W] from
/// train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (or
/// with a dot before idx). Without the train files, every fifth image of t10k is kept for testing and the
/// others train; the description says so. Throws IoError when the folder or a file is missing, FormatError
/// when a file is damaged or the files do not agree.
inline ImageSplit load_mnist(const std::filesystem::path& folder) {
  detail::require_folder(folder);
  const bool has_train = detail::has_mnist_part(folder, "train");
  ImageDataset t10k = detail::read_mnist_part(folder, "t10k");
  ImageSplit split;
  if (has_train) {
    split = {detail::read_mnist_part(folder, "train"), std::move(t10k), {}, {}};
    if (split.train.height != split.test.height || split.train.width != split.test.width) {
      throw FormatError(folder.string(), "its training images are ", split.train.height, " x ",
                        split.train.width, ", its test images ", split.test.height, " x ", split.test.width);
    }
  } else {
    if (t10k.count() < 5)
      throw FormatError(folder.string(), "has ", t10k.count(), " images: too few to split");
    split = detail::split_mnist(t10k);
  }
  split.augmentation = {.crop_padding = 4, .horizontal_flip = false};
  std::ostringstream text;
  text << "MNIST: " << split.train.count() << " training and " << split.test.count() << " test images";
  if (!has_train) text << ", both from the t10k files (there are no train files)";
  split.description = text.str();
  return split;
}

}  // namespace exfusion::data
