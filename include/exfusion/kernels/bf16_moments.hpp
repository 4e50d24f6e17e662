#pragma once

#include <bit>
#include <cstdint>

namespace exfusion::kernels {

/// AdamW's two moments of one number as a word: m in bfloat16 in the upper half, v in the lower. Together,
/// they are one stream of memory, and no vector is ever widened or narrowed.
///
/// They are rounded at random to one of the two neighbours, with the probabilities that make the value the
/// mean. To the nearest, most changes of v by a factor of beta2 = 0.999 would be none: v would never fall.
struct Bf16Moments {
  std::uint32_t bits = 0;

  float m() const { return std::bit_cast<float>(bits & 0xFFFF0000U); }
  float v() const { return std::bit_cast<float>(bits << 16); }

  /// `random` decides on m by its lower half, on v by its upper half. Infinity and the NaN that arithmetic
  /// gives stay what they are.
  static Bf16Moments rounded(float m, float v, std::uint32_t random) {
    const std::uint32_t m_bits = std::bit_cast<std::uint32_t>(m) + (random & 0xFFFFU);
    const std::uint32_t v_bits = std::bit_cast<std::uint32_t>(v) + (random >> 16);
    return {(m_bits & 0xFFFF0000U) | (v_bits >> 16)};
  }
};

/// A number's own start of its sequence of random words: a hash of `step` (C. Wellons, "lowbias32").
inline std::uint32_t rounding_seed(std::uint32_t step) {
  step = (step ^ (step >> 16)) * 0x7FEB352DU;
  step = (step ^ (step >> 15)) * 0x846CA68BU;
  return step ^ (step >> 16);
}

/// The random word of element `index` in a step with this seed: multiples of the golden ratio, which are
/// spread evenly over neighbouring elements, as the seeds are over steps. A pure function, so that threads do
/// not matter.
inline std::uint32_t rounding_noise(std::uint32_t seed, std::uint32_t index) {
  return (seed + index) * 0x9E3779B1U;
}

}  // namespace exfusion::kernels
