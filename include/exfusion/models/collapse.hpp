#pragma once

#include <exfusion/nn/exfusion_ffn.hpp>

namespace exfusion {

/// The dense model that a model with fused experts amounts to: a copy with every ExFusionFFN replaced by one
/// FeedForward of its fused weights. Its logits equal the fused model's in evaluation to the bit, and its
/// parameters have the names and shapes of the model that was upcycled.
template <class Model>
auto collapse(const Model& model) {
  return model.transform_ffn(
      []<Scalar T, class Rule>(const ExFusionFFN<T, Rule>& fused, Index) { return fused.collapsed(); });
}

}  // namespace exfusion
