#pragma once

#include <cmath>
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

/// A function's value and derivative at one point.
template <Scalar T>
struct ValueAndSlope {
  T value, slope;
};

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
  [[gnu::always_inline]] static ValueAndSlope<T> both(T x) {
    const T least = at_least<T>(x, -40), z = at_most<T>(least, 40);
    const T p = phi(z);
    const T twice_du = static_cast<T>(1.5957691216057308) + static_cast<T>(0.2140644488178009) * z * z;
    return {least * p, p + z * p * (1 - p) * twice_du};
  }
  template <Scalar T>
  [[gnu::always_inline]] static T slope(T x) {
    return both(x).slope;
  }
};

/// Phi(x) with e = exp(-x^2 / 2): the tail is e times a smooth function of |x|, so nothing cancels. A
/// rational approximation of relative error 1e-7 on [-7, 7]; beyond, e is too small for it to matter.
[[gnu::always_inline]] inline float normal_cdf(float x, float e) {
  const float z = at_most(x < 0 ? -x : x, 40.0F);
  float p = 1.428817123e-2F;
  p = p * z + 1.074788139e-1F;
  p = p * z + 3.40258208e-1F;
  p = p * z + 4.999999529e-1F;
  float q = 3.583110265e-2F;
  q = q * z + 2.689490861e-1F;
  q = q * z + 8.945952573e-1F;
  q = q * z + 1.478395638F;
  q = q * z + 1.0F;
  const float tail = e * p / q;
  return x < 0 ? tail : 1 - tail;
}
inline double normal_cdf(double x, double) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

/// GELU with Phi(x) = (1 + erf(x / sqrt 2)) / 2.
struct GeluErf {
  template <Scalar T>
  [[gnu::always_inline]] static T value(T x) {
    return at_least<T>(x, -40) * normal_cdf(x, fast_exp(T(-0.5) * x * x));
  }
  template <Scalar T>
  [[gnu::always_inline]] static ValueAndSlope<T> both(T x) {
    const T least = at_least<T>(x, -40), z = at_most<T>(least, 40);
    constexpr T inverse_sqrt_2pi = static_cast<T>(0.39894228040143267794);
    const T e = fast_exp(T(-0.5) * z * z), p = normal_cdf(z, e);
    return {least * p, p + z * inverse_sqrt_2pi * e};
  }
  template <Scalar T>
  [[gnu::always_inline]] static T slope(T x) {
    return both(x).slope;
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
