#pragma once

#include <cmath>
#include <numbers>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/gelu.hpp>

namespace exfusion::kernels {

namespace detail {

template <Scalar T>
struct GeluValue {
  T value;
  T slope;
};

template <Scalar T>
GeluValue<T> gelu_tanh(T x) {
  constexpr T scale = static_cast<T>(0.79788456080286535588);  // sqrt(2 / pi)
  constexpr T cubic = static_cast<T>(0.044715);
  const T t = std::tanh(scale * (x + cubic * x * x * x));
  const T inner_slope = scale * (1 + 3 * cubic * x * x);
  return {T(0.5) * x * (1 + t), T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * inner_slope};
}

template <Scalar T>
GeluValue<T> gelu_erf(T x) {
  constexpr T inverse_sqrt_2pi = static_cast<T>(0.39894228040143267794);
  const T phi = T(0.5) * (1 + std::erf(x * (std::numbers::sqrt2_v<T> / 2)));
  return {x * phi, phi + x * inverse_sqrt_2pi * std::exp(T(-0.5) * x * x)};
}

}  // namespace detail

template <Scalar T>
void Gelu<T>::forward(const T* x, T* y, Index size, GeluForm form) {
  parallel_for(size, 8192, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      y[i] = (form == GeluForm::tanh ? detail::gelu_tanh(x[i]) : detail::gelu_erf(x[i])).value;
    }
  });
}

template <Scalar T>
void Gelu<T>::backward(const T* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  parallel_for(size, 8192, [=](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const T slope = (form == GeluForm::tanh ? detail::gelu_tanh(x[i]) : detail::gelu_erf(x[i])).slope;
      dx.data[i] = dy[i] * slope + (dx.accumulate ? dx.data[i] : T{0});
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gelu);
