#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/patches.hpp>

namespace exfusion::ops {

template <Scalar T>
struct PatchesNode {
  static constexpr std::string_view name = "patches";
  Tensor<T> images, y;
  kernels::PatchGrid grid;

  void backward() const { kernels::Patches<T>::scatter(y.grad().data(), images.open_gradient(), grid); }
};

/// Cuts images into patches of p x p pixels, from the top left: images [B, C, H, W] to y [B, N, C p p], N =
/// H W / p^2, each patch's numbers as [C, p, p]. Throws ShapeError when there are other than four axes or the
/// patches do not tile the images.
template <Scalar T>
Tensor<T> patches(const Context<T>& ctx, const Tensor<T>& images, Index p) {
  const Shape& shape = images.shape();
  if (shape.rank() != 4) throw ShapeError("patches", "images are ", shape, ": they must be [B, C, H, W]");
  if (p < 1 || shape[2] % p != 0 || shape[3] % p != 0) {
    throw ShapeError("patches", "images are ", shape, ": patches of ", p, " x ", p,
                     " pixels do not tile them");
  }
  const kernels::PatchGrid grid{shape[0], shape[1], shape[2], shape[3], p};
  Tensor<T> y = ctx.output({grid.batch, grid.per_image(), grid.patch_size()}, images);
  kernels::Patches<T>::gather(images.data(), y.data(), grid);
  ctx.record(y, PatchesNode<T>{images, y, grid});
  return y;
}

}  // namespace exfusion::ops
