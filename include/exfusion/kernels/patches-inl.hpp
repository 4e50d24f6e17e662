#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/patches.hpp>

namespace exfusion::kernels {

namespace detail {

/// Calls `body(offset in the rows, offset in the images)` for every run of p pixels, in parallel over
/// patches.
template <class Body>
void for_each_patch_line(const PatchGrid& grid, const Body& body) {
  const Index p = grid.patch;
  parallel_for(grid.batch * grid.per_image(), rows_grain(grid.patch_size()), [=](Index begin, Index end) {
    for (Index row = begin; row < end; ++row) {
      const Index image = row / grid.per_image(), place = row % grid.per_image();
      const Index top = place / grid.across() * p, left = place % grid.across() * p;
      for (Index line = 0; line < grid.channels * p; ++line) {
        const Index channel = image * grid.channels + line / p;
        body(row * grid.patch_size() + line * p,
             (channel * grid.height + top + line % p) * grid.width + left);
      }
    }
  });
}

}  // namespace detail

template <Scalar T>
void Patches<T>::gather(const T* images, T* rows, const PatchGrid& grid) {
  detail::for_each_patch_line(
      grid, [=](Index row, Index image) { std::copy_n(images + image, grid.patch, rows + row); });
}

template <Scalar T>
void Patches<T>::scatter(const T* rows, GradientTarget<T> images, const PatchGrid& grid) {
  detail::for_each_patch_line(grid, [=](Index row, Index image) {
    const T* from = rows + row;
    write<T>({images.data + image, images.accumulate}, 0, grid.patch, [=](Index i) { return from[i]; });
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Patches);
