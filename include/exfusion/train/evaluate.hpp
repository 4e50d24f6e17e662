#pragma once

#include <algorithm>
#include <span>

#include <exfusion/data/image_loader.hpp>
#include <exfusion/data/text_loader.hpp>
#include <exfusion/ops/cross_entropy.hpp>

namespace exfusion::train {

namespace detail {

/// Calls `use(batch)` for at most `most` of the batches (0: all), evenly spread from the first on.
template <class Batches, class Use>
void for_each_of(const Batches& batches, Index most, const Use& use) {
  const Index count = most > 0 ? std::min(most, batches.size()) : batches.size();
  for (Index i = 0; i < count; ++i) use(batches[i * batches.size() / count]);
}

}  // namespace detail

/// Mean cross-entropy per token, in nats, over at most `most` batches (0: all). The model is a Gpt, or has a
/// `loss` like its.
template <class Model>
double evaluate_text(const Model& model, const data::TextBatches& batches, Index most = 0) {
  double sum = 0;
  Index tokens = 0;
  detail::for_each_of(batches, most, [&](const data::TextBatch& batch) {
    sum += static_cast<double>(model.loss({}, batch.tokens, batch.targets).item()) *
           static_cast<double>(batch.targets.size());
    tokens += batch.targets.size();
  });
  return sum / static_cast<double>(tokens);
}

struct ImageScore {
  double loss = 0;      ///< Mean cross-entropy per image, in nats.
  double accuracy = 0;  ///< Share of the images whose largest logit is the label's.
};

/// Loss and accuracy over at most `most` batches (0: all).
template <class Model, Scalar T>
ImageScore evaluate_images(const Model& model, const data::ImageBatches<T>& batches, Index most = 0) {
  ImageScore score;
  Index images = 0;
  detail::for_each_of(batches, most, [&](const data::ImageBatch<T>& batch) {
    const Tensor<T> logits = model({}, batch.images);
    const Index count = batch.labels.size(), classes = logits.shape()[1];
    score.loss += static_cast<double>(ops::cross_entropy(Context<T>{}, logits, batch.labels).item()) *
                  static_cast<double>(count);
    for (Index i = 0; i < count; ++i) {
      const T* row = logits.data() + i * classes;
      if (std::max_element(row, row + classes) - row == batch.labels.data()[i]) score.accuracy += 1;
    }
    images += count;
  });
  score.loss /= static_cast<double>(images);
  score.accuracy /= static_cast<double>(images);
  return score;
}

}  // namespace exfusion::train
