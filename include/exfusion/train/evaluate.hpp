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

/// Of logits [B, K] and labels [B].
template <Scalar T>
ImageScore score_logits(const Tensor<T>& logits, const IntTensor& labels) {
  ImageScore score{.loss = static_cast<double>(ops::cross_entropy(Context<T>{}, logits, labels).item())};
  const Index count = labels.size(), classes = logits.shape()[1];
  for (Index i = 0; i < count; ++i) {
    const T* row = logits.data() + i * classes;
    if (std::max_element(row, row + classes) - row == labels.data()[i]) score.accuracy += 1;
  }
  score.accuracy /= static_cast<double>(count);
  return score;
}

/// Loss and accuracy over at most `most` batches (0: all).
template <class Model, Scalar T>
ImageScore evaluate_images(const Model& model, const data::ImageBatches<T>& batches, Index most = 0) {
  ImageScore sum;
  double images = 0;
  detail::for_each_of(batches, most, [&](const data::ImageBatch<T>& batch) {
    const ImageScore score = score_logits(model({}, batch.images), batch.labels);
    const auto count = static_cast<double>(batch.labels.size());
    sum.loss += score.loss * count;
    sum.accuracy += score.accuracy * count;
    images += count;
  });
  return {sum.loss / images, sum.accuracy / images};
}

}  // namespace exfusion::train
