#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/data/image.hpp>
#include <exfusion/data/shuffle.hpp>

namespace exfusion::data {

template <Scalar T>
struct ImageBatch {
  Tensor<T> images;  ///< [B, C, H, W], normalised
  IntTensor labels;  ///< [B]
};

namespace detail {

/// Where the crop begins, relative to the image, and whether it is mirrored.
struct ImageView {
  Index top = 0;
  Index left = 0;
  bool flip = false;
};

/// Turns bytes into normalised numbers.
template <Scalar T>
class ImageWriter {
 public:
  /// Throws ConfigError when the images or the numbers do not fit together, or the labels are not classes.
  ImageWriter(const ImageDataset& images, const Normalisation& normalisation) : images_(&images) {
    const auto channels = static_cast<std::size_t>(images.channels);
    if (normalisation.mean.size() != channels || normalisation.std.size() != channels) {
      throw ConfigError("image_loader", "the normalisation has ", normalisation.mean.size(), " means and ",
                        normalisation.std.size(), " standard deviations for ", channels, " channels");
    }
    if (static_cast<Index>(images.pixels.size()) != images.count() * images.image_size()) {
      throw ConfigError("image_loader", images.pixels.size(), " bytes are not ", images.count(),
                        " images of ", images.channels, " x ", images.height, " x ", images.width);
    }
    for (std::int32_t label : images.labels) {
      if (label < 0 || label >= images.classes()) {
        throw ConfigError("image_loader", "label ", label, " is outside the ", images.classes(), " classes");
      }
    }
    for (std::size_t c = 0; c < channels; ++c) {
      const double mean = normalisation.mean[c], std = normalisation.std[c];
      if (!(std > 0)) throw ConfigError("image_loader", "channel ", c, " has the standard deviation ", std);
      auto& values = values_.emplace_back();
      for (std::size_t v = 0; v < 256; ++v)
        values[v] = static_cast<T>((static_cast<double>(v) / 255 - mean) / std);
    }
  }

  const ImageDataset& images() const { return *images_; }

  ImageBatch<T> make_batch(Index size) const {
    return {Tensor<T>::empty({size, images_->channels, images_->height, images_->width}), IntTensor({size})};
  }

  /// Writes the view of image `item` to row `row` of `batch`.
  void write(Index item, const ImageView& view, Index row, const ImageBatch<T>& batch) const {
    const Index height = images_->height, width = images_->width;
    const std::uint8_t* source = images_->image(item).data();
    T* target = batch.images.data() + row * images_->image_size();
    for (const auto& values : values_) {
      for (Index y = 0; y < height; ++y, target += width) {
        const Index from = y + view.top;
        if (from < 0 || from >= height) {
          std::fill_n(target, width, values[0]);
        } else {
          write_line(source + from * width, values, view, target);
        }
      }
      source += height * width;
    }
    batch.labels.data()[row] = images_->labels[static_cast<std::size_t>(item)];
  }

 private:
  void write_line(const std::uint8_t* line, const std::array<T, 256>& values, const ImageView& view,
                  T* target) const {
    const Index width = images_->width;
    for (Index x = 0; x < width; ++x) {
      const Index from = (view.flip ? width - 1 - x : x) + view.left;
      target[x] = values[from >= 0 && from < width ? line[from] : 0];
    }
  }

  const ImageDataset* images_;
  std::vector<std::array<T, 256>> values_;  // by channel and byte
};

}  // namespace detail

struct ImageLoaderOptions {
  Index batch = 128;  ///< B: images in a batch.
  std::uint64_t seed = 0;
  Augmentation augmentation = {};
};

/// An endless stream of shuffled, augmented, normalised training batches; each epoch visits every image once.
/// Everything depends on the seed and the position alone, so that a run continues exactly from a saved
/// `state`. A batch that reaches the end of an epoch goes on with the next one. The images are not copied:
/// they must outlive the loader.
template <Scalar T>
class ImageLoader {
 public:
  /// Throws ConfigError when there are no images, a size is not positive, the padding is negative or wider
  /// than the image, or the normalisation does not fit.
  ImageLoader(const ImageDataset& images, const Normalisation& normalisation,
              const ImageLoaderOptions& options)
      : writer_(images, normalisation), order_(images.count(), options.seed), options_(options) {
    if (options.batch < 1) throw ConfigError("image_loader", "the batch is ", options.batch, ": at least 1");
    const Index padding = options.augmentation.crop_padding;
    if (padding < 0 || padding > std::min(images.height, images.width)) {
      throw ConfigError("image_loader", "the crop padding is ", padding,
                        ": it must be 0 to the image's size");
    }
    batch_ = writer_.make_batch(options.batch);
    items_.resize(static_cast<std::size_t>(options.batch));
  }
  ImageLoader(ImageDataset&&, const Normalisation&, const ImageLoaderOptions&) = delete;

  /// The next batch, images [B, C, H, W] and labels [B]; valid until the next call, which reuses its memory.
  const ImageBatch<T>& next() {
    for (auto& [item, epoch_key] : items_) {
      item = order_.next();
      epoch_key = keyed_rng(order_.seed(), RandomPurpose::augmentation, order_.epoch()).state().key;
    }
    parallel_for(options_.batch, 8, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) {
        const auto& [item, epoch_key] = items_[static_cast<std::size_t>(row)];
        writer_.write(item, view(item, epoch_key), row, batch_);
      }
    });
    return batch_;
  }

  /// Images of one epoch.
  Index count() const { return order_.items(); }
  /// Epochs passed, in parts: 1.5 in the middle of the second.
  double epochs() const { return order_.epochs(); }

  const LoaderState& state() const { return order_.state(); }
  /// Continues where `state` was taken. Throws ConfigError when it belongs to a data set of another size.
  void set_state(const LoaderState& state) { order_.set_state(state); }

 private:
  detail::ImageView view(Index item, std::uint64_t epoch_key) const {
    const Rng::Block random = Rng::at({epoch_key, static_cast<std::uint64_t>(item)});
    const Index padding = options_.augmentation.crop_padding;
    const auto offset = [&](std::uint32_t bits) {
      const auto choices = static_cast<std::uint64_t>(2 * padding + 1);
      return static_cast<Index>((bits * choices) >> 32) - padding;
    };
    return {offset(random[0]), offset(random[1]),
            options_.augmentation.horizontal_flip && (random[2] & 1U) != 0};
  }

  detail::ImageWriter<T> writer_;
  ShuffledOrder order_;
  ImageLoaderOptions options_;
  ImageBatch<T> batch_;
  std::vector<std::pair<Index, std::uint64_t>> items_;
};

/// All images in order, normalised, neither shuffled nor augmented: for validation. The last batch may be
/// smaller. The images are not copied: they must outlive this.
template <Scalar T>
class ImageBatches {
 public:
  /// Throws ConfigError when there are no images, `batch` is not positive, or the normalisation does not fit.
  ImageBatches(const ImageDataset& images, const Normalisation& normalisation, Index batch)
      : writer_(images, normalisation) {
    if (batch < 1) throw ConfigError("image_batches", "the batch is ", batch, ": it must be at least 1");
    if (count() == 0) throw ConfigError("image_batches", "there are no images");
    full_ = writer_.make_batch(batch);
    rest_ = writer_.make_batch(count() % batch);
  }
  ImageBatches(ImageDataset&&, const Normalisation&, Index) = delete;

  Index count() const { return writer_.images().count(); }
  /// Batches of one pass.
  Index size() const { return (count() + batch() - 1) / batch(); }

  /// Batch `i` of the pass, of B images or fewer for the last; valid until the next call. Throws ConfigError
  /// when there is no such batch.
  const ImageBatch<T>& operator[](Index i) const {
    if (i < 0 || i >= size()) throw ConfigError("image_batches", "batch ", i, " does not exist in ", size());
    const ImageBatch<T>& result = (i + 1) * batch() <= count() ? full_ : rest_;
    parallel_for(result.labels.shape()[0], 8, [&](Index begin, Index end) {
      for (Index row = begin; row < end; ++row) writer_.write(i * batch() + row, {}, row, result);
    });
    return result;
  }

 private:
  Index batch() const { return full_.labels.shape()[0]; }

  detail::ImageWriter<T> writer_;
  ImageBatch<T> full_;
  ImageBatch<T> rest_;
};

}  // namespace exfusion::data
