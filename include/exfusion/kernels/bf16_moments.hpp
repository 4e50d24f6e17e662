#pragma once

#include <bit>
#include <cstdint>

namespace exfusion::kernels {

/// The bits of m and v as one word, rounded; of vectors, those of each lane. `random` decides on m by its
/// lower half, on v by its upper half.
template <class Number, class Word>
[[gnu::always_inline]] inline void join_rounded(const Number& m, const Number& v, const Word& random,
                                                Word& joined) {
  const Word m_bits = std::bit_cast<Word>(m) + (random & 0xFFFFU);
  const Word v_bits = std::bit_cast<Word>(v) + (random >> 16);
  joined = (m_bits & 0xFFFF0000U) | (v_bits >> 16);
}

/// AdamW's two moments of one number as a word: m in bfloat16 in the upper half, v in the lower. Together,
/// they are one stream of memory, and no vector is ever widened or narrowed.
///
/// They are rounded at random to one of the two neighbours, with the probabilities that make the value the
/// mean. To the nearest, most changes of v by a factor of beta2 = 0.999 would be none: v would never fall.
struct Bf16Moments {
  std::uint32_t bits = 0;

  float m() const { return std::bit_cast<float>(bits & 0xFFFF0000U); }
  float v() const { return std::bit_cast<float>(bits << 16); }

  /// See `join_rounded`. Infinity and the NaN that arithmetic gives stay what they are.
  static Bf16Moments rounded(float m, float v, std::uint32_t random) {
    Bf16Moments result;
    join_rounded(m, v, random, result.bits);
    return result;
  }
};

/// A number's own start of its sequence of random words: a hash of `step` (C. Wellons, "lowbias32").
inline std::uint32_t rounding_seed(std::uint32_t step) {
  step = (step ^ (step >> 16)) * 0x7FEB352DU;
  step = (step ^ (step >> 15)) * 0x846CA68BU;
  return step ^ (step >> 16);
}

/// What the random words of neighbouring elements differ by: the golden ratio, whose multiples are spread
/// evenly.
inline constexpr std::uint32_t rounding_stride = 0x9E3779B1U;

/// The random word of element `index` in a step with this seed: multiples of the golden ratio, which are
/// spread evenly over neighbouring elements, as the seeds are over steps. A pure function, so that threads do
/// not matter.
inline std::uint32_t rounding_noise(std::uint32_t seed, std::uint32_t index) {
  return (seed + index) * rounding_stride;
}

}  // namespace exfusion::kernels
