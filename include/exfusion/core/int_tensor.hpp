#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/shape.hpp>

namespace exfusion {

/// Token ids or class labels: a shared handle onto row-major 32-bit integers, without a gradient.
class IntTensor {
 public:
  IntTensor() = default;

  /// New memory, uninitialised.
  explicit IntTensor(Shape shape)
      : buffer_(std::make_shared<Buffer<std::int32_t>>(shape.size())), shape_(shape) {}

  /// A copy of `values`. Throws ShapeError when their number is not the shape's.
  IntTensor(Shape shape, std::span<const std::int32_t> values) : IntTensor(shape) {
    if (static_cast<Index>(values.size()) != shape.size()) {
      throw ShapeError("int_tensor", values.size(), " values do not fill shape ", shape);
    }
    std::copy(values.begin(), values.end(), data());
  }
  IntTensor(Shape shape, std::initializer_list<std::int32_t> values)
      : IntTensor(shape, std::span<const std::int32_t>(values.begin(), values.size())) {}

  const Shape& shape() const { return shape_; }
  Index size() const { return buffer_ ? shape_.size() : 0; }
  std::int32_t* data() const { return buffer_ ? buffer_->data() : nullptr; }
  std::span<std::int32_t> values() const { return {data(), static_cast<std::size_t>(size())}; }

 private:
  std::shared_ptr<Buffer<std::int32_t>> buffer_;
  Shape shape_;
};

}  // namespace exfusion
