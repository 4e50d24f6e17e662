#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/dropout.hpp>
#include <exfusion/kernels/elementwise.hpp>

namespace exfusion::kernels {

namespace detail {

inline constexpr Index mask_lanes = 16;
inline constexpr Index mask_group = 4 * mask_lanes;
using MaskLane = std::array<std::uint32_t, mask_lanes>;

// The words of `mask_lanes` consecutive counters, all first words first: what Rng::at gives, computed side by
// side in vector registers.
[[gnu::always_inline]] inline void draw_mask_words(Rng::State first, std::array<MaskLane, 4>& words) {
  MaskLane &x0 = words[0], &x1 = words[1], &x2 = words[2], &x3 = words[3];
  for (std::size_t lane = 0; lane < mask_lanes; ++lane) {
    const std::uint64_t counter = first.counter + lane;
    x0[lane] = static_cast<std::uint32_t>(counter);
    x1[lane] = static_cast<std::uint32_t>(counter >> 32);
    x2[lane] = 0;
    x3[lane] = 0;
  }
  auto key0 = static_cast<std::uint32_t>(first.key);
  auto key1 = static_cast<std::uint32_t>(first.key >> 32);
  for (int round = 0; round < 10; ++round) {
#pragma omp simd
    for (std::size_t lane = 0; lane < mask_lanes; ++lane) {
      const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * x0[lane];
      const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * x2[lane];
      x0[lane] = static_cast<std::uint32_t>(product1 >> 32) ^ x1[lane] ^ key0;
      x1[lane] = static_cast<std::uint32_t>(product1);
      x2[lane] = static_cast<std::uint32_t>(product0 >> 32) ^ x3[lane] ^ key1;
      x3[lane] = static_cast<std::uint32_t>(product0);
    }
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
}

}  // namespace detail

template <Scalar T>
Index Dropout<T>::counters(Index size) {
  return (size + detail::mask_group - 1) / detail::mask_group * detail::mask_lanes;
}

template <Scalar T>
void Dropout<T>::apply(const T* x, GradientTarget<T> y, Index size, double p, Rng::State first) {
  using detail::mask_group, detail::mask_lanes;
  const auto dropped = static_cast<std::uint32_t>(p * 0x1p32);
  const auto scale = static_cast<T>(1 / (1 - p));
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    std::array<detail::MaskLane, 4> words;
    for (Index i = begin; i < end; i += mask_group) {
      const auto offset = static_cast<std::uint64_t>(i / mask_group * mask_lanes);
      detail::draw_mask_words({first.key, first.counter + offset}, words);
      const std::uint32_t* word = words[0].data();
      write<T>({y.data + i, y.accumulate}, 0, std::min(mask_group, end - i),
               [=](Index j) { return x[i + j] * (word[j] < dropped ? T{0} : scale); });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Dropout);
