#pragma once

#include <exfusion/kernels/amx.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/gemm_grid.hpp>
#include <exfusion/kernels/matrix_vector.hpp>

// With EXFUSION_GEMM_EIGEN=1 all products are Eigen's; with EXFUSION_ONEDNN those of float matrices are
// oneDNN's, and what is rounded to bfloat16 stays here.
#ifndef EXFUSION_GEMM_EIGEN
#define EXFUSION_GEMM_EIGEN 0
#endif

#if EXFUSION_GEMM_EIGEN
#include <exfusion/kernels/gemm_eigen.hpp>
#else
#include <exfusion/kernels/gemm_tile.hpp>
#endif
#define EXFUSION_GEMM_AMX (EXFUSION_AMX && !EXFUSION_GEMM_EIGEN)
#if EXFUSION_GEMM_AMX
#include <exfusion/kernels/gemm_amx.hpp>
#endif
#ifdef EXFUSION_ONEDNN
#include <exfusion/kernels/gemm_onednn.hpp>
#endif

namespace exfusion::kernels {

namespace detail {
#if EXFUSION_GEMM_EIGEN
template <Scalar T>
using OwnTile = EigenTile<T, T>;
template <Scalar T>
using Bfloat16Tile = EigenTile<T, Bfloat16>;
#else
template <Scalar T>
using OwnTile = BlockedTile<GemmMicroKernel<PlainNumbers<T>>>;
#if EXFUSION_GEMM_AMX
template <Scalar T>
using Bfloat16Kernel =
    std::conditional_t<std::same_as<T, float>, AmxMicroKernel, GemmMicroKernel<Bfloat16Numbers<T>>>;
#else
template <Scalar T>
using Bfloat16Kernel = GemmMicroKernel<Bfloat16Numbers<T>>;
#endif
template <Scalar T>
using Bfloat16Tile = BlockedTile<Bfloat16Kernel<T>>;
#endif
template <Scalar T>
using OwnGemm = GemmGrid<OwnTile<T>>;
/// The product of rounded operands.
template <Scalar T>
using Bfloat16Gemm = GemmGrid<Bfloat16Tile<T>>;
#ifdef EXFUSION_ONEDNN
template <Scalar T>
using FullGemm = std::conditional_t<std::same_as<T, float>, OneDnnGemm, OwnGemm<T>>;
#else
template <Scalar T>
using FullGemm = OwnGemm<T>;
#endif
}  // namespace detail

template <Scalar T>
void Gemm<T>::multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                       const T* bias) {
  const bool is_vector = c.rows == 1 && a.column_stride == 1 && b.row_stride == 1;
  if (is_vector) return MatrixVector<T>::multiply(b.transposed(), a.data, c.data, accumulate, bias);
  detail::FullGemm<T>::multiply(a, b, c, {.accumulate = accumulate, .bias = bias});
}

template <Scalar T>
void Gemm<T>::multiply(const Operand<T>& a, const Operand<T>& b, MatrixView<T> c, bool accumulate,
                       const T* bias) {
  if (!a.is_rounded()) {
    multiply(a.exact, b.exact, c, accumulate, bias);
    return;
  }
  detail::Bfloat16Gemm<T>::multiply(a.rounded, b.rounded, c, {.accumulate = accumulate, .bias = bias});
}

template <Scalar T>
void Gemm<T>::multiply_rounded(const Operand<T>& a, const Operand<T>& b, MatrixView<Bfloat16> c,
                               const T* bias) {
  detail::Bfloat16Gemm<T>::multiply_rounded(a.rounded, b.rounded, c, bias);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gemm);
