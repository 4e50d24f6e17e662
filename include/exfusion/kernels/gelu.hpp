#pragma once

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// Which GELU: GPT-2's tanh approximation or the exact form with the error function (Hendrycks and Gimpel,
/// arXiv 1606.08415).
enum class GeluForm { tanh, erf };

namespace kernels {

/// y = x Phi(x), Phi the standard normal distribution function, element by element.
template <Scalar T>
struct Gelu {
  /// y[i] = gelu(x[i]) for i < size.
  static void forward(const T* x, T* y, Index size, GeluForm form);
  /// The same in bf16; y is rounded.
  static void forward(const Bfloat16* x, Bfloat16* y, Index size, GeluForm form);
  /// dx[i] (+)= dy[i] * gelu'(x[i]).
  static void backward(const T* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form);
  static void backward(const Bfloat16* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form);

  /// The backward pass of matrices [rows, columns], which also computes y = gelu(x) again: dx = dy gelu'(x),
  /// and its sums along the rows, those of a bias before GELU, go to `sum` [columns] (may have no data). dx
  /// may be dy.
  static void backward_again(const T* x, const T* dy, T* dx, T* y, Index rows, Index columns,
                             GradientTarget<T> sum, GeluForm form);
  /// The same in bf16. The sums are those of dx before it is rounded.
  static void backward_again(const Bfloat16* x, const Bfloat16* dy, Bfloat16* dx, Bfloat16* y, Index rows,
                             Index columns, GradientTarget<T> sum, GeluForm form);
};

}  // namespace kernels
}  // namespace exfusion

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/gelu-inl.hpp>
#endif
