#pragma once

#include <concepts>
#include <numbers>

#include <exfusion/core/scalar.hpp>
#include <exfusion/kernels/fast_math.hpp>

// Activation functions of one number, without branches: values and derivatives. Arguments are bounded where
// the result no longer changes, so that infinities give the limits and NaN stays NaN.

namespace exfusion::kernels::detail {

template <Scalar T>
[[gnu::always_inline]] inline T at_least(T x, T bound) {
  return x < bound ? bound : x;
}
template <Scalar T>
[[gnu::always_inline]] inline T at_most(T x, T bound) {
  return x > bound ? bound : x;
}

/// GELU with Phi(x) = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3), which equals (1 + tanh u) / 2.
struct GeluTanh {
  template <Scalar T>
  [[gnu::always_inline]] static T phi(T x) {
    return fast_sigmoid(x *
                        (static_cast<T>(1.5957691216057308) + static_cast<T>(0.0713548162726003) * x * x));
  }
  template <Scalar T>
  [[gnu::always_inline]] static T value(T x) {
    return at_least<T>(x, -40) * phi(x);
  }
  template <Scalar T>
  [[gnu::always_inline]] static T slope(T x) {
    x = at_most<T>(at_least<T>(x, -40), 40);
    const T p = phi(x);
    const T twice_du = static_cast<T>(1.5957691216057308) + static_cast<T>(0.2140644488178009) * x * x;
    return p + x * p * (1 - p) * twice_du;
  }
};

/// GELU with Phi(x) = (1 + erf(x / sqrt 2)) / 2. Below the bound it is smaller than Phi's rounding errors.
struct GeluErf {
  template <Scalar T>
  static constexpr T bound = std::same_as<T, float> ? 6 : 40;

  template <Scalar T>
  [[gnu::always_inline]] static T phi(T x) {
    return T(0.5) + T(0.5) * fast_erf(x * (std::numbers::sqrt2_v<T> / 2));
  }
  template <Scalar T>
  [[gnu::always_inline]] static T value(T x) {
    return at_least(x, -bound<T>) * phi(x);
  }
  template <Scalar T>
  [[gnu::always_inline]] static T slope(T x) {
    x = at_most(at_least(x, -bound<T>), bound<T>);
    constexpr T inverse_sqrt_2pi = static_cast<T>(0.39894228040143267794);
    return phi(x) + x * inverse_sqrt_2pi * fast_exp(T(-0.5) * x * x);
  }
};

/// x sigmoid(x).
struct Silu {
  template <Scalar T>
  [[gnu::always_inline]] static T value(T x) {
    return at_least<T>(x, -1000) * fast_sigmoid(x);
  }
  template <Scalar T>
  [[gnu::always_inline]] static T slope(T x) {
    x = at_most<T>(at_least<T>(x, -1000), 1000);
    const T s = fast_sigmoid(x);
    return s + x * s * (1 - s);
  }
};

}  // namespace exfusion::kernels::detail
