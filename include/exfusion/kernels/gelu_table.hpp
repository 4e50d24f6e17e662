#pragma once

#include <cstdint>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/buffer.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels::detail {

/// GELU (a form of kernels/activation.hpp) and its derivative at each of the 65536 numbers in bfloat16, exact
/// up to one rounding. To look one up takes less time than to compute it, as the few thousand numbers that
/// occur stay in the nearest caches.
template <Scalar T>
struct GeluTable {
  static constexpr Index size = 1 << 16;

  Buffer<std::uint32_t> values{size};  ///< The bits of gelu(x) in bfloat16, by those of x.
  Buffer<T> slopes{size};              ///< gelu'(x)

  /// Of GeluTanh or GeluErf; made when it is first asked for.
  template <class Form>
  static const GeluTable& of() {
    static const GeluTable table{Form()};
    return table;
  }

 private:
  template <class Form>
  explicit GeluTable(Form) {
    for (Index i = 0; i < size; ++i) {
      const float x{Bfloat16{static_cast<std::uint16_t>(i)}};
      const auto [value, slope] = Form::both(double{x});
      values[i] = Bfloat16::from(static_cast<float>(value)).bits;
      slopes[i] = static_cast<T>(slope);
    }
  }
};

/// At most `most` numbers in bfloat16, to be looked up. The loops are apart because compilers then turn each
/// into vectors, `look_up` into gathers.
class TablePlaces {
 public:
  static constexpr Index most = 256;

  TablePlaces(const Bfloat16* x, Index size) : size_(size) {
#pragma omp simd
    for (Index i = 0; i < size; ++i) places_[i] = x[i].bits;
  }

  /// to[i] = table[x[i]]
  template <class Element>
  void look_up(const Element* table, Element* to) const {
#pragma omp simd
    for (Index i = 0; i < size_; ++i) to[i] = table[places_[i]];
  }

  /// The same of a table of bits, to numbers.
  void look_up(const std::uint32_t* table, Bfloat16* to) const {
    alignas(64) std::uint32_t bits[most];
    look_up(table, bits);
#pragma omp simd
    for (Index i = 0; i < size_; ++i) to[i].bits = static_cast<std::uint16_t>(bits[i]);
  }

 private:
  alignas(64) std::int32_t places_[most];
  Index size_;
};

}  // namespace exfusion::kernels::detail
