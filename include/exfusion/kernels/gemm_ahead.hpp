#pragma once

#include <algorithm>

#include <exfusion/kernels/ceil_divide.hpp>
#include <exfusion/kernels/matrix_view.hpp>
#include <exfusion/kernels/prefetch.hpp>

namespace exfusion::kernels::detail {

/// Nothing to ask for.
struct NothingAhead {
  void ask() {}
};

/// What is needed next of two matrices, asked for into the L2 cache in equal shares: so few lines at a time
/// that nothing else waits for them.
template <class Source>
class Ahead {
 public:
  /// `ask` will be called so many times.
  Ahead(MatrixView<const Source> first, MatrixView<const Source> second, Index times)
      : first_(first), second_(second) {
    const Index lines = first_.lines() + second_.lines();
    share_ = ceil_divide(lines, std::max<Index>(times, 1));
  }

  [[gnu::always_inline]] void ask() {
    Index left = share_;
    while (left > 0 && first_.ask()) --left;
    while (left > 0 && second_.ask()) --left;
  }

 private:
  static constexpr Index line = 64 / static_cast<Index>(sizeof(Source));

  // A matrix line by line as it lies in memory.
  class Lines {
   public:
    explicit Lines(MatrixView<const Source> view)
        : row_(view.data),
          rows_(view.column_stride == 1 ? view.rows : view.columns),
          stride_(view.column_stride == 1 ? view.row_stride : view.column_stride),
          length_(view.column_stride == 1 ? view.columns : view.rows) {
      if (length_ == 0) rows_ = 0;
    }
    Index lines() const { return rows_ * ceil_divide(length_ + line - 1, line); }
    // False if there is no line left.
    [[gnu::always_inline]] bool ask() {
      if (rows_ == 0) return false;
      prefetch<CacheLevel::second>(row_ + std::min(at_, length_ - 1), 1);
      at_ += line;
      if (at_ >= length_ + line - 1) {
        at_ = 0;
        row_ += stride_;
        --rows_;
      }
      return true;
    }

   private:
    const Source* row_;
    Index rows_, stride_, length_, at_ = 0;
  };

  Lines first_, second_;
  Index share_;
};

}  // namespace exfusion::kernels::detail
