#pragma once

#include <algorithm>
#include <vector>

#include <exfusion/autograd/context.hpp>
#include <exfusion/data/image_loader.hpp>

namespace exfusion::train {

/// How often images of each class were taken for each class, over all batches: [classes, classes], a row for
/// each true class. The model maps images [B, C, H, W] to logits [B, classes].
template <class Model, Scalar T>
std::vector<std::vector<Index>> count_confusions(const Model& model, const data::ImageBatches<T>& batches) {
  std::vector<std::vector<Index>> counts;
  for (Index i = 0; i < batches.size(); ++i) {
    const data::ImageBatch<T>& batch = batches[i];
    const Tensor<T> logits = model({}, batch.images);
    const Index classes = logits.shape()[1];
    const auto size = static_cast<std::size_t>(classes);
    if (counts.empty()) counts.assign(size, std::vector<Index>(size));
    for (Index image = 0; image < batch.labels.size(); ++image) {
      const T* row = logits.data() + image * classes;
      const auto label = static_cast<std::size_t>(batch.labels.data()[image]);
      ++counts[label][static_cast<std::size_t>(std::max_element(row, row + classes) - row)];
    }
  }
  return counts;
}

}  // namespace exfusion::train
