#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include <exfusion/core/arena.hpp>
#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/buffer.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/shape.hpp>

namespace exfusion {

/// Where a backward kernel writes: with `accumulate` it adds to what stands there, else it overwrites.
template <Scalar T>
struct GradientTarget {
  T* data = nullptr;
  bool accumulate = false;
};

/// The gradient of one tensor. `defined` tells whether anything has been written since it was last cleared;
/// the first writer overwrites, so gradients are never filled with zeros beforehand. An activation's memory
/// comes from `arena` at the first write.
template <Scalar T>
struct Gradient {
  T* data = nullptr;
  Index size = 0;
  bool defined = false;
  Arena* arena = nullptr;

  /// Opens the gradient for one writer.
  GradientTarget<T> open() {
    if (data == nullptr && arena != nullptr) data = arena->allocate_array<T>(size);
    return {data, std::exchange(defined, true)};
  }

  /// Gives its value and memory to another activation's gradient of the same size and arena, if nothing has
  /// been written there: as good as a copy when this one is not needed any more. Returns whether it did.
  bool hand_over(Gradient& to) {
    if (!defined || arena == nullptr || to.arena != arena || to.size != size || to.defined) return false;
    to.data = std::exchange(data, nullptr);
    to.defined = std::exchange(defined, false);
    return true;
  }

  /// Forgets the value; an activation's memory goes back to its arena.
  void clear() {
    defined = false;
    if (arena != nullptr && data != nullptr) {
      arena->release(std::exchange(data, nullptr), static_cast<std::size_t>(size) * sizeof(T));
    }
  }
};

/// A weight's numbers rounded to bfloat16: made for whoever asks first, and kept until the weight changes.
struct RoundedCopy {
  Buffer<Bfloat16> values;
  bool is_current = false;

  bool is_made() const { return values.size() > 0; }
};

/// A cheap handle onto a row-major, contiguous, 64-byte-aligned array of rank 0 to 4 and onto its gradient.
/// Copying the handle shares the numbers. An activation recorded on a tape lives in the tape's arena until
/// `Tape::clear`; everything else (parameters, inputs, results without a tape) owns its memory jointly with
/// the other handles onto it.
template <Scalar T>
class Tensor {
 public:
  /// No tensor, of shape [0]: an absent bias, for example.
  Tensor() = default;

  /// A view of memory that `owner` (may be null: the caller) keeps alive. No gradient when `gradient` is
  /// null.
  Tensor(T* data, Shape shape, Gradient<T>* gradient = nullptr, std::shared_ptr<void> owner = nullptr,
         RoundedCopy* rounded = nullptr)
      : data_(data), gradient_(gradient), shape_(shape), owner_(std::move(owner)), rounded_(rounded) {}

  /// New memory of its own, uninitialised.
  static Tensor empty(Shape shape) {
    auto buffer = std::make_shared<Buffer<T>>(shape.size());
    T* data = buffer->data();
    return Tensor(data, shape, nullptr, std::move(buffer));
  }

  static Tensor zeros(Shape shape) {
    Tensor result = empty(shape);
    std::fill_n(result.data_, result.size(), T{0});
    return result;
  }

  /// A copy of `values`, row by row. Throws ShapeError when their number is not the shape's.
  static Tensor from(Shape shape, std::span<const T> values) {
    if (static_cast<Index>(values.size()) != shape.size()) {
      throw ShapeError("tensor", values.size(), " values do not fill shape ", shape);
    }
    Tensor result = empty(shape);
    std::copy(values.begin(), values.end(), result.data_);
    return result;
  }
  static Tensor from(Shape shape, std::initializer_list<T> values) {
    return from(shape, std::span<const T>(values.begin(), values.size()));
  }

  /// Whether there is a tensor behind the handle.
  explicit operator bool() const { return data_ != nullptr || owner_ != nullptr; }

  const Shape& shape() const { return shape_; }
  Index size() const { return shape_.size(); }
  T* data() const { return data_; }
  std::span<T> values() const { return {data_, static_cast<std::size_t>(size())}; }

  /// The value of a tensor with one element. Throws ShapeError for any other.
  T item() const {
    if (size() != 1) throw ShapeError("item", "a tensor of shape ", shape_, " is not a single number");
    return data_[0];
  }

  bool requires_grad() const { return gradient_ != nullptr; }
  Gradient<T>* gradient() const { return gradient_; }

  /// The gradient's values, in the tensor's own layout. Throws Error when there is none (no backward pass has
  /// reached this tensor since its gradient was last cleared).
  std::span<T> grad() const {
    if (gradient_ == nullptr || !gradient_->defined) {
      throw Error("grad", "no backward pass has reached this tensor of shape ", shape_);
    }
    return {gradient_->data, static_cast<std::size_t>(size())};
  }

  /// Opens the gradient for one writer; the target's data is null when no gradient is wanted.
  GradientTarget<T> open_gradient() const {
    return gradient_ == nullptr ? GradientTarget<T>{} : gradient_->open();
  }

  /// Where a copy rounded to bfloat16 is kept; null for all but weights.
  RoundedCopy* rounded_copy() const { return rounded_; }
  /// To be called by whoever has written to a weight through a handle.
  void set_changed() const {
    if (rounded_ != nullptr) rounded_->is_current = false;
  }

  /// The same numbers and gradient under another shape. Throws ShapeError when the sizes differ.
  Tensor reshape(Shape shape) const {
    if (shape.size() != size()) throw ShapeError("reshape", shape_, " cannot become ", shape);
    Tensor result = *this;
    result.shape_ = shape;
    return result;
  }

  /// The same numbers without the gradient: backward stops here.
  Tensor detach() const { return Tensor(data_, shape_, nullptr, owner_, rounded_); }

 protected:
  T* data_ = nullptr;
  Gradient<T>* gradient_ = nullptr;
  Shape shape_{0};
  std::shared_ptr<void> owner_;
  RoundedCopy* rounded_ = nullptr;
};

}  // namespace exfusion
