#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/gelu.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Gelu<T>::forward(const T* x, T* y, Index size, GeluForm form) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    const GradientTarget<T> target{y, false};
    if (form == GeluForm::tanh) {
      write(target, begin, end, [=](Index i) { return detail::GeluTanh::value(x[i]); });
    } else {
      write(target, begin, end, [=](Index i) { return detail::GeluErf::value(x[i]); });
    }
  });
}

namespace detail {

/// dx[i] (+)= dy[i] * gelu'(x(i)).
template <Scalar T, class X>
void gelu_backward(const X& x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
    if (form == GeluForm::tanh) {
      write(dx, begin, end, [=](Index i) { return dy[i] * GeluTanh::slope(x(i)); });
    } else {
      write(dx, begin, end, [=](Index i) { return dy[i] * GeluErf::slope(x(i)); });
    }
  });
}

}  // namespace detail

template <Scalar T>
void Gelu<T>::backward(const T* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  detail::gelu_backward([=](Index i) { return x[i]; }, dy, dx, size, form);
}

template <Scalar T>
void Gelu<T>::backward(const Bfloat16* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  detail::gelu_backward([=](Index i) { return static_cast<T>(static_cast<float>(x[i])); }, dy, dx, size,
                        form);
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gelu);
