#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/patches.hpp>
#include <exfusion/kernels/reduce.hpp>

namespace exfusion {

namespace detail {

template <Scalar T>
void check_patch_embedding(const Tensor<T>& images, const Tensor<T>& weight, const Tensor<T>& bias) {
  const Shape& i = images.shape();
  const Shape& w = weight.shape();
  if (w.rank() != 4 || w[2] != w[3] || w[2] == 0) {
    throw ShapeError("patch_embedding", "weight is ", w, ": it must be [D, C, p, p]");
  }
  if (i.rank() != 4 || i[1] != w[1]) {
    throw ShapeError("patch_embedding", "images are ", i, ": they must be [B, C, H, W] with C = ", w[1]);
  }
  if (i[2] % w[2] != 0 || i[3] % w[2] != 0) {
    throw ShapeError("patch_embedding", "images are ", i, ": patches of ", w[2], " x ", w[2],
                     " pixels do not tile them");
  }
  if (bias && bias.shape() != Shape{w[0]}) {
    throw ShapeError("patch_embedding", "bias is ", bias.shape(), ": it must be [D] = ", Shape{w[0]});
  }
}

}  // namespace detail

namespace ops {

template <Scalar T>
struct PatchEmbeddingNode {
  static constexpr std::string_view name = "patch_embedding";
  Tensor<T> images, weight, bias, y, rows;
  kernels::PatchGrid grid;

  void backward() const {
    using kernels::dense_matrix;
    const Index count = rows.shape()[0], d_in = rows.shape()[1], d_out = weight.shape()[0];
    const T* dy = y.grad().data();
    const auto dy_matrix = dense_matrix(dy, count, d_out);
    if (weight.requires_grad()) {
      const GradientTarget<T> dw = weight.open_gradient();
      kernels::Gemm<T>::multiply(dy_matrix.transposed(), dense_matrix<const T>(rows.data(), count, d_in),
                                 dense_matrix(dw.data, d_out, d_in), dw.accumulate);
    }
    if (bias.requires_grad()) kernels::Reduce<T>::sum_rows(dy, count, d_out, T{1}, bias.open_gradient());
    if (images.requires_grad()) {
      // The patches themselves are no longer needed: their memory takes their gradient.
      kernels::Gemm<T>::multiply(dy_matrix, dense_matrix<const T>(weight.data(), d_out, d_in),
                                 dense_matrix(rows.data(), count, d_in), false);
      kernels::Patches<T>::scatter(rows.data(), images.open_gradient(), grid);
    }
  }
};

/// Maps each patch of p x p pixels linearly to D numbers (arXiv 2010.11929): images [B, C, H, W], weight [D,
/// C, p, p], bias [D] (or none) to y [B, N, D], N = H W / p^2, patches in rows from the top left. Throws
/// ShapeError when the axes do not fit or the patches do not tile the images.
template <Scalar T>
Tensor<T> patch_embedding(const Context<T>& ctx, const Tensor<T>& images, const Tensor<T>& weight,
                          const Tensor<T>& bias = {}) {
  detail::check_patch_embedding(images, weight, bias);
  const Shape& shape = images.shape();
  const kernels::PatchGrid grid{shape[0], shape[1], shape[2], shape[3], weight.shape()[2]};
  const Index count = grid.batch * grid.per_image(), d_in = grid.patch_size(), d_out = weight.shape()[0];
  const Tensor<T> rows = ctx.saved({count, d_in});
  Tensor<T> y = ctx.output({grid.batch, grid.per_image(), d_out}, images, weight, bias);
  kernels::Patches<T>::gather(images.data(), rows.data(), grid);
  kernels::Gemm<T>::multiply(kernels::dense_matrix<const T>(rows.data(), count, d_in),
                             kernels::dense_matrix<const T>(weight.data(), d_out, d_in).transposed(),
                             kernels::dense_matrix(y.data(), count, d_out), false, bias.data());
  ctx.record(y, PatchEmbeddingNode<T>{images, weight, bias, y, rows, grid});
  return y;
}

}  // namespace ops
}  // namespace exfusion
