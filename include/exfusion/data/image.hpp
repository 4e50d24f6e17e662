#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::data {

/// Labelled images of one size, as bytes.
struct ImageDataset {
  Index channels = 0;
  Index height = 0;
  Index width = 0;
  std::vector<std::uint8_t> pixels;  ///< [count, C, H, W]
  std::vector<std::int32_t> labels;  ///< [count], 0 to classes - 1
  std::vector<std::string> class_names;

  Index count() const { return static_cast<Index>(labels.size()); }
  Index classes() const { return static_cast<Index>(class_names.size()); }
  Index image_size() const { return channels * height * width; }

  /// The bytes of image `i`, [C, H, W].
  std::span<const std::uint8_t> image(Index i) const {
    const std::span<const std::uint8_t> all(pixels);
    return all.subspan(static_cast<std::size_t>(i * image_size()), static_cast<std::size_t>(image_size()));
  }

  /// A data set of the same kind without images.
  ImageDataset without_images() const { return {channels, height, width, {}, {}, class_names}; }

  /// Copies image `i` of `source`, a data set of the same kind, to the end.
  void append(const ImageDataset& source, Index i) {
    const auto image = source.image(i);
    pixels.insert(pixels.end(), image.begin(), image.end());
    labels.push_back(source.labels[static_cast<std::size_t>(i)]);
  }
};

/// Random changes to training images.
struct Augmentation {
  Index crop_padding = 0;  ///< A random crop of the image's size out of the image with so wide a black frame.
  bool horizontal_flip = false;  ///< Mirrors every other image, at random.
};

/// What the loaders of files return.
struct ImageSplit {
  ImageDataset train;
  ImageDataset test;
  Augmentation augmentation;  ///< What is usual for these images.
  std::string description;    ///< One line for the user: how many images, from where.
};

/// Mean and standard deviation of each channel, for values scaled to 0..1.
struct Normalisation {
  std::vector<double> mean;
  std::vector<double> std;

  /// Computed over all pixels of `images`; a channel without variation gets the standard deviation 1.
  /// Throws ConfigError when there are none.
  static Normalisation of(const ImageDataset& images) {
    if (images.count() == 0) throw ConfigError("normalisation", "there are no images to compute it from");
    Normalisation result;
    const auto plane = static_cast<std::size_t>(images.height * images.width);
    const double total = static_cast<double>(images.count()) * static_cast<double>(plane);
    for (Index channel = 0; channel < images.channels; ++channel) {
      std::uint64_t sum = 0, squares = 0;  // integers: exact in any order
      for (Index i = 0; i < images.count(); ++i) {
        for (const std::uint64_t value :
             images.image(i).subspan(static_cast<std::size_t>(channel) * plane, plane)) {
          sum += value;
          squares += value * value;
        }
      }
      const double mean = static_cast<double>(sum) / total;
      const double variance = static_cast<double>(squares) / total - mean * mean;
      result.mean.push_back(mean / 255);
      result.std.push_back(variance > 1e-6 ? std::sqrt(variance) / 255 : 1.0);
    }
    return result;
  }
};

}  // namespace exfusion::data
