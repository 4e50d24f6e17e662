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
    hold(shape, Buffer<T>::zeros(shape.size()));
  }

  Parameter(const Parameter& other) : Tensor<T>(), options_(other.options_) {
    if (!other) return;
    hold(other.shape_, Buffer<T>::copy_of(other.data_, other.size()));
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
    explicit Storage(Buffer<T> values)
        : value(std::move(values)), grad(value.size()), gradient{grad.data(), value.size()} {}
    Buffer<T> value;
    Buffer<T> grad;
    Gradient<T> gradient;
    RoundedCopy rounded;
  };

  void hold(Shape shape, Buffer<T> values) {
    auto storage = std::make_shared<Storage>(std::move(values));
    this->data_ = storage->value.data();
    this->gradient_ = &storage->gradient;
    this->rounded_ = &storage->rounded;
    this->shape_ = shape;
    this->owner_ = std::move(storage);
  }

  ParameterOptions options_;
};

}  // namespace exfusion
