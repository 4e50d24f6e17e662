#pragma once

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/patch_embedding.hpp>

namespace exfusion {

/// Cuts images into patches of p x p pixels and maps each linearly to D numbers: weight [D, C, p, p], bias
/// [D]. Initially weight ~ N(0, std^2), bias = 0.
template <Scalar T>
struct PatchEmbedding {
  Parameter<T> weight;
  Parameter<T> bias;

  PatchEmbedding() = default;
  PatchEmbedding(Index channels, Index patch_size, Index d_model, double std, Rng& rng)
      : weight(Parameter<T>::normal({d_model, channels, patch_size, patch_size}, std, rng)),
        bias({d_model}) {}

  static void fields(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }

  /// images [B, C, H, W] to [B, N, D], patches in rows from the top left. Throws ShapeError when the sizes do
  /// not fit.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& images) const {
    return ops::patch_embedding(ctx, images, weight, bias);
  }
};

}  // namespace exfusion
