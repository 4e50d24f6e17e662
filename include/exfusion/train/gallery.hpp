#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <exfusion/data/base64.hpp>
#include <exfusion/data/image_loader.hpp>
#include <exfusion/data/png.hpp>
#include <exfusion/data/shuffle.hpp>
#include <exfusion/models/attention_map.hpp>
#include <exfusion/train/metric_rows.hpp>

namespace exfusion::train {

namespace detail {

/// `count` different images (all, if there are fewer) that depend on the seed alone.
inline data::ImageDataset pick_images(const data::ImageDataset& images, Index count, std::uint64_t seed) {
  data::ShuffledOrder order(images.count(), seed);
  data::ImageDataset picked = images.without_images();
  for (Index i = 0; i < std::min(count, images.count()); ++i) picked.append(images, order.next());
  return picked;
}

/// The largest of logits [classes] and its probability.
template <Scalar T>
std::pair<std::size_t, double> prediction(std::span<const T> logits) {
  const auto largest = std::ranges::max_element(logits);
  double sum = 0;
  for (T logit : logits) sum += std::exp(static_cast<double>(logit - *largest));
  return {static_cast<std::size_t>(largest - logits.begin()), 1 / sum};
}

}  // namespace detail

/// `count` of the images, always the same for the same seed, with what the model makes of them and its
/// attention map. Needs zlib. Throws ConfigError when `count` is not positive, there are no images or the
/// normalisation does not fit; ShapeError when the images are not the model's or have other than 1 or 3
/// channels.
template <Scalar T, Ffn<T> F>
std::vector<GalleryImage> image_gallery(const Vit<T, F>& model, const data::ImageDataset& images,
                                        const data::Normalisation& normalisation, Index count,
                                        std::uint64_t seed = 0) {
  if (count < 1) throw ConfigError("image_gallery", "the count is ", count, ": it must be at least 1");
  const data::ImageDataset picked = detail::pick_images(images, count, seed);
  const data::ImageBatches<T> batches(picked, normalisation, picked.count());
  const Tensor<T>& pixels = batches[0].images;
  const Tensor<T> logits = model({}, pixels), maps = attention_map(model, pixels);
  const auto classes = static_cast<std::size_t>(logits.shape()[1]);
  const auto patches = static_cast<std::size_t>(maps.shape()[1] * maps.shape()[2]);
  std::vector<GalleryImage> gallery;
  for (Index i = 0; i < picked.count(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const auto [predicted, probability] =
        detail::prediction<T>(logits.values().subspan(at * classes, classes));
    const auto map = maps.values().subspan(at * patches, patches);
    gallery.push_back(
        {.width = picked.width,
         .height = picked.height,
         .png = data::base64(data::encode_png(picked.image(i), picked.channels, picked.height, picked.width)),
         .label = picked.class_names[static_cast<std::size_t>(picked.labels[at])],
         .prediction = picked.class_names[predicted],
         .probability = probability,
         .attention = {map.begin(), map.end()},
         .grid = maps.shape()[1]});
  }
  return gallery;
}

}  // namespace exfusion::train
