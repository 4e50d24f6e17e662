#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include <exfusion/core/rng.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// How optimizers treat a parameter.
struct ParameterOptions {
  /// Whether weight decay applies. By default it does from rank 2 on: not to biases and normalisation
  /// weights.
  bool decay = true;
  /// Whether this is a fusion rule's own parameter (logits, router): not part of the exported model.
  bool fusion = false;
  /// Multiplies the optimizer's learning rate.
  double lr_multiplier = 1.0;
};

/// A trainable tensor. Unlike a plain Tensor it copies deeply (the copy starts without a gradient), so a
/// module that holds parameters follows the rule of zero. Its storage keeps its address when it is moved and
/// lives as long as any handle onto it. Converts (by slicing) to the Tensor handle that operations take.
template <Scalar T>
class Parameter : public Tensor<T> {
 public:
  Parameter() = default;

  /// Zeros of the given shape.
  explicit Parameter(Shape shape) : Parameter(shape, ParameterOptions{.decay = shape.rank() >= 2}) {}
  Parameter(Shape shape, ParameterOptions options) : options_(options) {
    allocate(shape);
    std::fill_n(this->data_, this->size(), T{0});
  }

  Parameter(const Parameter& other) : Tensor<T>(), options_(other.options_) {
    if (!other) return;
    allocate(other.shape_);
    std::copy_n(other.data_, other.size(), this->data_);
  }
  Parameter(Parameter&&) noexcept = default;
  Parameter& operator=(Parameter other) noexcept {
    options_ = other.options_;
    Tensor<T>::operator=(std::move(other));
    return *this;
  }
  ~Parameter() = default;

  /// N(0, std^2) of the given shape.
  static Parameter normal(Shape shape, double std, Rng& rng) {
    Parameter result(shape);
    rng.fill_normal(result.values(), 0.0, std);
    return result;
  }

  /// All elements equal to `value`.
  static Parameter constant(Shape shape, T value) {
    Parameter result(shape);
    std::ranges::fill(result.values(), value);
    return result;
  }

  /// The numbers, to be read or written; a copy rounded to bfloat16 counts as out of date afterwards.
  T* data() const {
    this->set_changed();
    return Tensor<T>::data();
  }
  std::span<T> values() const {
    this->set_changed();
    return Tensor<T>::values();
  }

  const ParameterOptions& options() const { return options_; }
  void set_options(const ParameterOptions& options) { options_ = options; }

 private:
  struct Storage {
    explicit Storage(Index size) : value(size), grad(size), gradient{grad.data(), size} {}
    Buffer<T> value;
    Buffer<T> grad;
    Gradient<T> gradient;
    RoundedCopy rounded;
  };

  void allocate(Shape shape) {
    auto storage = std::make_shared<Storage>(shape.size());
    this->data_ = storage->value.data();
    this->gradient_ = &storage->gradient;
    this->rounded_ = &storage->rounded;
    this->shape_ = shape;
    this->owner_ = std::move(storage);
  }

  ParameterOptions options_;
};

}  // namespace exfusion
