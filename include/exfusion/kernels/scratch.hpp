#pragma once

#include <exfusion/core/buffer.hpp>

namespace exfusion::kernels {

/// Room for `count` numbers that belongs to the calling thread until its next call with this T and this
/// Purpose (a tag), uninitialised. Kept between calls, so that kernels of one size allocate once; it never
/// carries a value from one call to the next.
template <class T, class Purpose = T>
T* scratch(Index count) {
  thread_local Buffer<T> buffer;
  if (buffer.size() < count) buffer = Buffer<T>(count);
  return buffer.data();  // NOLINT(clang-analyzer-cplusplus.NewDelete): the new buffer's, not the old one's
}

}  // namespace exfusion::kernels
