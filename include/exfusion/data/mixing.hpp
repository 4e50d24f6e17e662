#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include <exfusion/core/error.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/data/image_loader.hpp>

namespace exfusion::data {

/// How training images are mixed in pairs. Each number is the alpha of Beta(alpha, alpha), from which an
/// image's share of its pair is drawn; 0: not this way. With both, each batch takes one of them by chance.
struct MixOptions {
  double mixup = 0;   ///< Pixel by pixel (Zhang et al., arXiv 1710.09412); 0.2 to 0.8 are usual.
  double cutmix = 0;  ///< A rectangle of one in the other (Yun et al., arXiv 1905.04899); 1 is usual.
};

/// A batch of mixed images: image i is `share` of one of class labels[i] and the rest of one of class
/// partners[i].
template <Scalar T>
struct MixedBatch {
  Tensor<T> images;    ///< [B, C, H, W]
  IntTensor labels;    ///< [B]
  IntTensor partners;  ///< [B]
  double share = 1;
};

namespace detail {

/// Gamma(shape, 1) by Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); below 1
/// by way of shape + 1.
inline double draw_gamma(double shape, Rng& rng) {
  if (shape < 1) {
    const double larger = draw_gamma(shape + 1, rng);
    return larger * std::pow(1 - rng.uniform(), 1 / shape);
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = rng.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

/// Beta(alpha, alpha); 1/2 where both of its gammas are too small for a number.
inline double draw_beta(double alpha, Rng& rng) {
  const double x = draw_gamma(alpha, rng), y = draw_gamma(alpha, rng);
  return x + y > 0 ? x / (x + y) : 0.5;
}

/// Rows and columns of an image, [top, bottom) and [left, right).
struct Rectangle {
  Index top, bottom, left, right;

  Index size() const { return (bottom - top) * (right - left); }
};

/// A rectangle whose area is 1 - share of the image's, around a point drawn in it, as far as it lies inside.
inline Rectangle draw_rectangle(Index height, Index width, double share, Rng& rng) {
  const double side = std::sqrt(1 - share);
  const auto range = [&](Index size) {
    const auto half = static_cast<Index>(side * static_cast<double>(size)) / 2;
    const Index centre = rng.below(size);
    return std::pair(std::max<Index>(0, centre - half), std::min(size, centre + half));
  };
  const auto [top, bottom] = range(height);
  const auto [left, right] = range(width);
  return {top, bottom, left, right};
}

}  // namespace detail

/// Mixes each image of a batch with the one before it (the first with the last). Everything depends on the
/// images and the generator alone, so that a run whose generator is saved goes on exactly.
template <Scalar T>
class ImageMixer {
 public:
  /// Throws ConfigError when an alpha is negative or not finite.
  explicit ImageMixer(const MixOptions& options) : options_(options) {
    for (const auto& [name, alpha] :
         {std::pair("mixup", options.mixup), std::pair("cutmix", options.cutmix)}) {
      if (std::isfinite(alpha) && alpha >= 0) continue;
      throw ConfigError("mixing", name, " is ", alpha, ": it must be finite and not negative");
    }
  }

  /// Whether anything is mixed at all.
  bool is_on() const { return options_.mixup > 0 || options_.cutmix > 0; }

  /// The batch mixed; valid until the next call, which reuses its memory. Not mixed: the batch itself.
  const MixedBatch<T>& mix(const ImageBatch<T>& batch, Rng& rng) {
    if (!is_on()) {
      mixed_ = {batch.images, batch.labels, batch.labels, 1};
      return mixed_;
    }
    if (mixed_.images.shape() != batch.images.shape()) {
      mixed_ = {Tensor<T>::empty(batch.images.shape()), batch.labels, IntTensor(batch.labels.shape()), 1};
    }
    mixed_.labels = batch.labels;
    const Index size = batch.labels.size();
    for (Index i = 0; i < size; ++i) mixed_.partners.data()[i] = batch.labels.data()[partner(i, size)];
    const bool cuts = options_.mixup == 0 || (options_.cutmix > 0 && rng.uniform() < 0.5);
    mixed_.share = detail::draw_beta(cuts ? options_.cutmix : options_.mixup, rng);
    cuts ? cut(batch.images, rng) : blend(batch.images);
    return mixed_;
  }

 private:
  static Index partner(Index i, Index size) { return i == 0 ? size - 1 : i - 1; }

  template <class Body>
  static void for_each_pair(const Tensor<T>& images, const Body& body) {
    const Index size = images.shape()[0];
    parallel_for(size, 8, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) body(i, partner(i, size));
    });
  }

  void blend(const Tensor<T>& images) {
    const Index pixels = images.size() / images.shape()[0];
    const auto share = static_cast<T>(mixed_.share), rest = static_cast<T>(1 - mixed_.share);
    for_each_pair(images, [&](Index i, Index other) {
      const T* x = images.data() + i * pixels;
      const T* y = images.data() + other * pixels;
      T* to = mixed_.images.data() + i * pixels;
      for (Index pixel = 0; pixel < pixels; ++pixel) to[pixel] = share * x[pixel] + rest * y[pixel];
    });
  }

  void cut(const Tensor<T>& images, Rng& rng) {
    const Index channels = images.shape()[1], height = images.shape()[2], width = images.shape()[3];
    const detail::Rectangle hole = detail::draw_rectangle(height, width, mixed_.share, rng);
    mixed_.share = 1 - static_cast<double>(hole.size()) / static_cast<double>(height * width);
    const Index pixels = channels * height * width;
    for_each_pair(images, [&](Index i, Index other) {
      std::copy_n(images.data() + i * pixels, pixels, mixed_.images.data() + i * pixels);
      for (Index channel = 0; channel < channels; ++channel) {
        for (Index row = hole.top; row < hole.bottom; ++row) {
          const Index at = (channel * height + row) * width + hole.left;
          std::copy_n(images.data() + other * pixels + at, hole.right - hole.left,
                      mixed_.images.data() + i * pixels + at);
        }
      }
    });
  }

  MixOptions options_;
  MixedBatch<T> mixed_;
};

}  // namespace exfusion::data
