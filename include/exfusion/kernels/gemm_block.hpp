#pragma once

#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels::detail {

/// Sizes of the register block of C: as many accumulators as registers allow beside the operands. 6 x 2
/// vectors in 16 registers (AVX2, SSE), 12 x 2 in 32 (AVX-512), 8 x 3 in 32 (NEON).
template <Scalar T, int Bytes>
struct GemmBlock {
#if defined(__ARM_NEON)
  static constexpr int rows = 8;
  static constexpr int vectors = 3;
#else
  static constexpr int rows = Bytes == 64 ? 12 : 6;
  static constexpr int vectors = 2;
#endif
  static constexpr int columns = vectors * Simd<T, Bytes>::lanes;
  /// Packed elements that are summed up before C, unless it is rounded, is touched.
  static constexpr int depth = 384;
};

}  // namespace exfusion::kernels::detail
