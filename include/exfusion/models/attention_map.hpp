#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <exfusion/core/parallel.hpp>
#include <exfusion/models/vit.hpp>

namespace exfusion {

namespace detail {

/// softmax(q k^T / sqrt(d_head)) averaged over the heads: qkv [B, T, 3D] as MultiHeadAttention makes it, to
/// [B, T, T]. A training step never forms this array.
template <Scalar T>
Tensor<T> mean_attention(const Tensor<T>& qkv, Index heads) {
  const Index batch = qkv.shape()[0], tokens = qkv.shape()[1], d_model = qkv.shape()[2] / 3;
  const Index d_head = d_model / heads;
  const T scale = 1 / std::sqrt(static_cast<T>(d_head));
  const auto mean = Tensor<T>::zeros({batch, tokens, tokens}),
             all = Tensor<T>::empty({batch, tokens, tokens});
  parallel_for(batch * tokens, 8, [&](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const auto scores =
          all.values().subspan(static_cast<std::size_t>(row * tokens), static_cast<std::size_t>(tokens));
      const T* keys = qkv.data() + row / tokens * tokens * 3 * d_model + d_model;
      for (Index head = 0; head < heads; ++head) {
        const T* q = qkv.data() + row * 3 * d_model + head * d_head;
        for (Index t = 0; t < tokens; ++t) {
          const T* k = keys + t * 3 * d_model + head * d_head;
          T product = 0;
          for (Index i = 0; i < d_head; ++i) product += q[i] * k[i];
          scores[static_cast<std::size_t>(t)] = product * scale;
        }
        const T largest = std::ranges::max(scores);
        T sum = 0;
        for (T& score : scores) sum += score = std::exp(score - largest);
        for (Index t = 0; t < tokens; ++t) {
          mean.data()[row * tokens + t] += scores[static_cast<std::size_t>(t)] / sum / static_cast<T>(heads);
        }
      }
    }
  });
  return mean;
}

/// flow [T] = flow (attention + 1) / 2: where what arrives at one layer's tokens came from, half of it
/// through the residual connection. attention [T, T].
template <Scalar T>
void roll_back(std::vector<T>& flow, const T* attention) {
  const std::size_t tokens = flow.size();
  std::vector<T> before(tokens);
  for (std::size_t to = 0; to < tokens; ++to) {
    before[to] += flow[to] / 2;
    for (std::size_t from = 0; from < tokens; ++from) {
      before[from] += flow[to] * attention[to * tokens + from] / 2;
    }
  }
  flow = before;
}

}  // namespace detail

/// Where in the images [B, C, H, W] the classifier's input comes from, as attention rollout estimates it
/// (Abnar and Zuidema, arXiv 2005.00928, section 3): the product over the layers of (A + 1) / 2, A being the
/// attention averaged over the heads; its row for the class token, or with mean pooling the mean of its rows.
/// Returns [B, grid, grid], patches from the top left, the sum of each map 1. For evaluation: memory grows by
/// T^2 for each image and layer, and nothing is recorded. Throws ShapeError when the images are not the
/// model's.
template <Scalar T, Ffn<T> F>
Tensor<T> attention_map(const Vit<T, F>& model, const Tensor<T>& images) {
  const Context<T> ctx;
  Tensor<T> x = model.embed(ctx, images);
  std::vector<Tensor<T>> layers;
  for (const auto& block : model.blocks) {
    const Tensor<T> qkv = block.attention.qkv(ctx, block.norm1(ctx, x));
    layers.push_back(detail::mean_attention(qkv, block.attention.n_heads));
    x = block(ctx, x);
  }
  const Index batch = x.shape()[0], tokens = x.shape()[1];
  const Index grid = model.config.image_size / model.config.patch_size, patches = grid * grid;
  const auto maps = Tensor<T>::empty({batch, grid, grid});
  for (Index image = 0; image < batch; ++image) {
    std::vector<T> flow(static_cast<std::size_t>(tokens), T{0});
    if (model.config.pooling == Pooling::cls) {
      flow[0] = 1;
    } else {
      std::ranges::fill(flow, 1 / static_cast<T>(tokens));
    }
    for (std::size_t layer = layers.size(); layer-- > 0;) {
      detail::roll_back(flow, layers[layer].data() + image * tokens * tokens);
    }
    const auto first = flow.end() - patches;  // the class token's share is no part of the image
    const T sum = std::accumulate(first, flow.end(), T{0});
    std::transform(first, flow.end(), maps.data() + image * patches, [sum](T share) { return share / sum; });
  }
  return maps;
}

}  // namespace exfusion
