#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <ostream>

#include <exfusion/core/error.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion {

/// Sizes of a row-major tensor's axes, outermost first; rank 0 (a scalar) to 4.
class Shape {
 public:
  static constexpr int max_rank = 4;

  constexpr Shape() = default;

  /// Throws ShapeError on more than four axes, a negative size, or 2^58 elements or more.
  constexpr Shape(std::initializer_list<Index> axes) : rank_(static_cast<int>(axes.size())) {
    if (axes.size() > max_rank) throw ShapeError("shape", "rank ", axes.size(), " is over ", max_rank);
    std::copy(axes.begin(), axes.end(), axes_.begin());
    for (Index axis : axes) {
      if (axis < 0) throw ShapeError("shape", "axis of size ", axis, ": sizes cannot be negative");
    }
    check_size();
  }

  constexpr int rank() const { return rank_; }

  /// Size of one axis; negative positions count from the end, as in `shape[-1]`.
  constexpr Index operator[](int axis) const {
    const int position = axis < 0 ? axis + rank_ : axis;
    if (position < 0 || position >= rank_) {
      throw ShapeError("shape", "axis ", axis, " does not exist in ", *this);
    }
    return axes_[static_cast<std::size_t>(position)];
  }

  /// Number of elements; 1 for a scalar.
  constexpr Index size() const {
    Index product = 1;
    for (int i = 0; i < rank_; ++i) product *= axes_[static_cast<std::size_t>(i)];
    return product;
  }

  /// The tensor seen as a matrix of its last axis: number of rows, all leading axes multiplied.
  constexpr Index rows() const {
    Index product = 1;
    for (int i = 0; i + 1 < rank_; ++i) product *= axes_[static_cast<std::size_t>(i)];
    return product;
  }

  /// Size of the last axis; 1 for a scalar.
  constexpr Index columns() const { return rank_ == 0 ? 1 : (*this)[-1]; }

  /// The same shape with another last axis: the result of a map over rows. Throws as the constructor does.
  constexpr Shape with_columns(Index columns) const {
    Shape result = *this;
    if (rank_ > 0) result.axes_[static_cast<std::size_t>(rank_ - 1)] = columns;
    result.check_size();
    return result;
  }

  /// The shape with one more axis at the end. Throws ShapeError when there are four already, and as the
  /// constructor does.
  constexpr Shape with_appended(Index size) const {
    if (rank_ == max_rank) throw ShapeError("shape", *this, " has no room for another axis");
    Shape result = *this;
    result.axes_[static_cast<std::size_t>(result.rank_++)] = size;
    result.check_size();
    return result;
  }

  constexpr bool operator==(const Shape& other) const = default;

  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    out << '[';
    for (int i = 0; i < shape.rank_; ++i) out << (i > 0 ? ", " : "") << shape[i];
    return out << ']';
  }

 private:
  // Bytes of any scalar, rounded up to whole cache lines, then fit an Index, and so does every product of
  // some of the axes: zeros are left out.
  constexpr void check_size() const {
    constexpr Index limit = Index{1} << 58;
    Index product = 1;
    for (int i = 0; i < rank_; ++i) {
      const Index axis = axes_[static_cast<std::size_t>(i)];
      if (axis > 0 && axis >= (limit + product - 1) / product) {
        throw ShapeError("shape", *this, " has more elements than any memory");
      }
      if (axis > 0) product *= axis;
    }
  }

  std::array<Index, max_rank> axes_{};
  int rank_ = 0;
};

}  // namespace exfusion
