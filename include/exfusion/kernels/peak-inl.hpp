#pragma once

#include <algorithm>
#include <chrono>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <exfusion/kernels/amx.hpp>
#include <exfusion/kernels/peak.hpp>
#include <exfusion/kernels/simd.hpp>

namespace exfusion::kernels {

namespace detail {

/// Multiply-adds of each chain in one pass.
inline constexpr Index peak_steps = 50'000;
/// Independent chains: enough to hide the latency of a multiply-add.
inline constexpr int peak_chains = 12;

template <Scalar T>
[[gnu::noinline]] T multiply_in_registers(T factor) {
  using Vector = typename Simd<T>::Vector;
  const Vector x = factor - Vector{};
  Vector values[peak_chains];
  for (int i = 0; i < peak_chains; ++i) values[i] = x * static_cast<T>(i);
  for (Index step = 0; step < peak_steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < peak_chains; ++i) values[i] = values[i] * x + x;
  }
  Vector total = {};
  for (const Vector& value : values) total += value;
  return total[0];
}

#ifdef __AVX512BF16__
/// The same with pairs of bfloat16 numbers.
template <Scalar T>
[[gnu::noinline]] T multiply_pairs_in_registers(T factor) {
  const auto x = (__m512bh)_mm512_set1_ps(static_cast<float>(factor));
  __m512 sums[peak_chains];
  for (int i = 0; i < peak_chains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (Index step = 0; step < peak_steps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < peak_chains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], x, x);
  }
  __m512 total = {};
  for (const __m512& sum : sums) total += sum;
  return static_cast<T>(total[0]);
}
#endif

#if EXFUSION_AMX
/// The same with tiles of bfloat16 numbers: in each pass of the loop three products that do not wait for each
/// other.
template <Scalar T>
[[gnu::noinline]] T multiply_tiles_in_registers(T factor) {
  const AmxRegisters<AmxTile::rows> registers;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  for (Index step = 0; step < peak_steps; ++step) {
    _tile_dpbf16ps(0, 3, 4);
    _tile_dpbf16ps(1, 3, 4);
    _tile_dpbf16ps(2, 3, 4);
  }
  return factor;
}
#endif

/// Operations per second of all threads in `multiply`, each step of which does so many in each chain. Each
/// thread takes its own time, so that waiting for one that was not scheduled does not count.
template <Scalar T>
double best_rate(T (*multiply)(T), double operations_of_chain) {
  using Clock = std::chrono::steady_clock;
  const double operations = operations_of_chain * peak_chains * static_cast<double>(peak_steps);
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    double rate = 0;
#pragma omp parallel reduction(+ : rate)
    {
      volatile T factor = T{0.5};  // volatile: neither known beforehand nor left out
      const auto start = Clock::now();
      factor = multiply(factor);
      rate += operations / std::chrono::duration<double>(Clock::now() - start).count();
    }
    best = std::max(best, rate);
  }
  return best;
}

}  // namespace detail

template <Scalar T>
double Peak<T>::operations_per_second() {
  return detail::best_rate<T>(detail::multiply_in_registers<T>, 2.0 * Simd<T>::lanes);
}

template <Scalar T>
double Peak<T>::bf16_operations_per_second() {
#if EXFUSION_AMX
  constexpr double products = 3.0 * detail::AmxTile::elements * detail::AmxTile::numbers;
  if (detail::amx_is_permitted())
    return detail::best_rate<T>(detail::multiply_tiles_in_registers<T>, 2.0 * products / detail::peak_chains);
#endif
#ifdef __AVX512BF16__
  return detail::best_rate<T>(detail::multiply_pairs_in_registers<T>, 4.0 * Simd<float>::lanes);
#else
  return operations_per_second();
#endif
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Peak);
