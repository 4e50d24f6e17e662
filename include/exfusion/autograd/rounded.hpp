#pragma once

#include <memory>
#include <utility>

#include <exfusion/core/tensor.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/round.hpp>

namespace exfusion {

/// A tensor's numbers in bfloat16, row by row; without data in full precision.
struct Rounded {
  const Bfloat16* data = nullptr;
  std::shared_ptr<void> owner = nullptr;  ///< Of memory that neither an arena nor a weight owns.

  explicit operator bool() const { return data != nullptr; }
};

/// x rounded to bfloat16: the copy that x keeps if x is a weight, rounded again if the weight has changed, or
/// else new memory of `arena` (of its own when null).
template <Scalar T>
Rounded round(const Tensor<T>& x, Arena* arena) {
  if (RoundedCopy* copy = x.rounded_copy(); copy != nullptr) {
    if (copy->values.size() != x.size()) copy->values = Buffer<Bfloat16>(x.size());
    if (!std::exchange(copy->is_current, true))
      kernels::Round<T>::to_bfloat16(x.data(), copy->values.data(), x.size());
    return {copy->values.data()};
  }
  Rounded result;
  Bfloat16* values = nullptr;
  if (arena != nullptr) {
    values = arena->allocate_array<Bfloat16>(x.size());
  } else {
    auto buffer = std::make_shared<Buffer<Bfloat16>>(x.size());
    values = buffer->data();
    result.owner = std::move(buffer);
  }
  kernels::Round<T>::to_bfloat16(x.data(), values, x.size());
  result.data = values;
  return result;
}

/// A gradient that a backward pass has computed, rounded to bfloat16 for as long as the object lives if
/// `is_wanted`: temporary memory of the arena that the gradient comes from.
template <Scalar T>
class RoundedGradient {
 public:
  RoundedGradient(const Gradient<T>& gradient, bool is_wanted)
      : RoundedGradient(gradient, is_wanted, gradient.size, {}) {}

  /// The same of a gradient [rows, columns] whose sum along the rows is the gradient of a bias: that goes to
  /// `bias`, unless it has no data.
  RoundedGradient(const Gradient<T>& gradient, bool is_wanted, Index columns, GradientTarget<T> bias)
      : values_(is_wanted ? gradient.arena : nullptr, is_wanted ? gradient.size : 0) {
    const Index rows = columns == 0 ? 0 : gradient.size / columns;
    if (is_wanted && bias.data != nullptr) {
      kernels::Reduce<T>::round_and_sum_rows(gradient.data, values_.data(), rows, columns, bias);
    } else if (is_wanted) {
      kernels::Round<T>::to_bfloat16(gradient.data, values_.data(), gradient.size);
    } else if (bias.data != nullptr) {
      kernels::Reduce<T>::sum_rows(gradient.data, rows, columns, T{1}, bias);
    }
  }

  const Bfloat16* data() const { return values_.data(); }

 private:
  TemporaryArray<Bfloat16> values_;
};

}  // namespace exfusion
