#pragma once

// Build configuration. Two macros choose how kernels are compiled:
//   EXFUSION_COMPILED           kernels come from the static library exfusion::compiled; headers only
//                               declare them, and including the umbrella never parses Eigen.
//   EXFUSION_BUILDING_COMPILED  set for that library's own sources: instantiate float and double.

#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "ExFusion needs NaN and infinity to work: do not build with -ffast-math, -Ofast or -ffinite-math-only"
#endif

#if defined(EXFUSION_COMPILED) && !defined(EXFUSION_BUILDING_COMPILED)
#define EXFUSION_DECLARE_ONLY 1
#else
#define EXFUSION_DECLARE_ONLY 0
#endif

// Stands at the end of each kernels/*-inl.hpp: one line instantiates a kernel for both scalars.
#ifdef EXFUSION_BUILDING_COMPILED
#define EXFUSION_INSTANTIATE(Kernel) \
  template struct Kernel<float>;     \
  template struct Kernel<double>
#else
#define EXFUSION_INSTANTIATE(Kernel) static_assert(true)
#endif
