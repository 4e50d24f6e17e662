#pragma once

#include <span>

#include <exfusion/core/scalar.hpp>

namespace exfusion {

/// A run of consecutive elements of an expert's row that share one fusion weight. Kernels work span by span.
struct FusionSpan {
  Index begin = 0;
  Index size = 0;
  Index group = 0;
  bool decay = true;
};

/// How E experts lie in a slab [E, P]: rows of `row_size` elements, of which `spans` cover all but padding.
struct FusionLayout {
  std::span<const FusionSpan> spans;
  Index experts = 0;
  Index groups = 0;
  Index row_size = 0;

  /// Doubles of scratch memory that the reductions need.
  Index scratch_size() const { return static_cast<Index>(spans.size()) * experts; }
};

namespace kernels {

/// Sums over the experts of a slab. Each streams the slab once, in parallel, in an order that depends on the
/// layout alone.
template <Scalar T>
struct Fuse {
  /// W = sum_i a[g, i] W_i, where g is the span's group: rows [E, P] and a [groups, E] to fused [P].
  static void forward(const FusionLayout& layout, const T* rows, const T* a, T* fused);

  /// The same for a span or a part of one: the same bits, whatever the part. Serial.
  static void forward_part(const FusionLayout& layout, const FusionSpan& part, const T* rows, const T* a,
                           T* fused);

  /// products[g, i] = sum over g's spans of G (W_i - origin), in double; origin [P] null counts as zero. The
  /// difference is formed first: experts that are equal get products that are equal, and zero where they
  /// equal the origin.
  static void inner_products(const FusionLayout& layout, const T* rows, const T* origin, const T* gradient,
                             double* scratch, double* products);

  /// distances[g, i] = sum over g's spans of (W_i - origin)^2, in double.
  static void squared_distances(const FusionLayout& layout, const T* rows, const T* origin, double* scratch,
                                double* distances);
};

}  // namespace kernels
}  // namespace exfusion

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/fuse-inl.hpp>
#endif
