#pragma once

#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/gemm_grid.hpp>

// Eigen takes over where the compiler has no vector extensions; define EXFUSION_GEMM_EIGEN to choose.
#ifndef EXFUSION_GEMM_EIGEN
#if defined(__GNUC__)
#define EXFUSION_GEMM_EIGEN 0
#else
#define EXFUSION_GEMM_EIGEN 1
#endif
#endif

#if EXFUSION_GEMM_EIGEN
#include <exfusion/kernels/gemm_eigen.hpp>
#else
#include <exfusion/kernels/gemm_tile.hpp>
#endif

namespace exfusion::kernels {

namespace detail {
#if EXFUSION_GEMM_EIGEN
template <Scalar T>
using GemmTile = EigenTile<T>;
#else
template <Scalar T>
using GemmTile = BlockedTile<T>;
#endif
}  // namespace detail

template <Scalar T>
void Gemm<T>::multiply(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                       const T* bias) {
  detail::GemmGrid<T, detail::GemmTile<T>>::multiply(a, b, c, {.accumulate = accumulate, .bias = bias});
}

template <Scalar T>
void Gemm<T>::multiply_serial(MatrixView<const T> a, MatrixView<const T> b, MatrixView<T> c, bool accumulate,
                              T scale) {
  detail::GemmTile<T>::run(a, b, c, {.accumulate = accumulate, .scale = scale});
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gemm);
