#pragma once

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// How square patches tile a batch of images [B, C, H, W].
struct PatchGrid {
  Index batch = 0;
  Index channels = 0;
  Index height = 0;
  Index width = 0;
  Index patch = 0;

  Index across() const { return width / patch; }
  /// N: patches of one image.
  Index per_image() const { return height / patch * across(); }
  /// Numbers of one patch: C p p.
  Index patch_size() const { return channels * patch * patch; }
};

/// Images as matrices with one patch a row.
template <Scalar T>
struct Patches {
  /// rows [B N, C p p] from images [B, C, H, W]; patches from the top left, numbers as [C, p, p].
  static void gather(const T* images, T* rows, const PatchGrid& grid);
  /// images (+)= the rows put back in their places.
  static void scatter(const T* rows, GradientTarget<T> images, const PatchGrid& grid);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/patches-inl.hpp>
#endif
