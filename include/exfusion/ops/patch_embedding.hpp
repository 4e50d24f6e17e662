#pragma once

#include <exfusion/ops/linear.hpp>
#include <exfusion/ops/patches.hpp>

namespace exfusion::ops {

/// Maps each patch of p x p pixels linearly to D numbers (arXiv 2010.11929): images [B, C, H, W], weight [D,
/// C, p, p], bias [D] (or none) to y [B, N, D], N = H W / p^2, patches in rows from the top left. Throws
/// ShapeError when the axes do not fit or the patches do not tile the images.
template <Scalar T>
Tensor<T> patch_embedding(const Context<T>& ctx, const Tensor<T>& images, const Tensor<T>& weight,
                          const Tensor<T>& bias = {}) {
  const Shape& i = images.shape();
  const Shape& w = weight.shape();
  if (w.rank() != 4 || w[2] != w[3] || w[2] == 0) {
    throw ShapeError("patch_embedding", "weight is ", w, ": it must be [D, C, p, p]");
  }
  if (i.rank() != 4 || i[1] != w[1]) {
    throw ShapeError("patch_embedding", "images are ", i, ": they must be [B, C, H, W] with C = ", w[1]);
  }
  return linear(ctx, patches(ctx, images, w[2]), weight.reshape({w[0], w[1] * w[2] * w[3]}), bias);
}

}  // namespace exfusion::ops
