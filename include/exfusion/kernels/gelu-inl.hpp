#pragma once

#include <concepts>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/row_sums.hpp>

namespace exfusion::kernels {

namespace detail {

/// Calls `body(gelu)`, where `gelu` has the functions of the form.
template <class Body>
void with_gelu(GeluForm form, const Body& body) {
  form == GeluForm::tanh ? body(GeluTanh()) : body(GeluErf());
}

/// Calls `each(i, gelu)` for i < size, in parallel.
template <Scalar T, class Each>
void for_each_gelu(Index size, GeluForm form, const Each& each) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, `each` may call the standard library
  with_gelu(form, [&](auto gelu) {
    parallel_for(size, elementwise_grain, [&](Index begin, Index end) {
#pragma omp simd if (vectorised)
      for (Index i = begin; i < end; ++i) each(i, gelu);
    });
  });
}

/// dx[i] (+)= dy[i] * gelu'(x(i)).
template <Scalar T, class X>
void gelu_backward(const X& x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  with_gelu(form, [&](auto gelu) {
    parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
      write(dx, begin, end, [=](Index i) { return dy[i] * gelu.slope(x(i)); });
    });
  });
}

/// `each(i, gelu)` for all elements i of a matrix [rows, columns], with the sums of what it returns along the
/// rows.
template <Scalar T, class Each>
void gelu_backward_rows(Index rows, Index columns, GradientTarget<T> sum, GeluForm form, const Each& each) {
  constexpr bool vectorised = std::same_as<T, float>;
  with_gelu(form, [&](auto gelu) {
    sum_computed_rows(rows, columns, sum, [&](Index row, Index column, Index width, T* dx) {
      const Index first = row * columns + column;
#pragma omp simd if (vectorised)
      for (Index c = 0; c < width; ++c) dx[c] = each(first + c, gelu);
    });
  });
}

}  // namespace detail

template <Scalar T>
void Gelu<T>::forward(const T* x, T* y, Index size, GeluForm form) {
  detail::for_each_gelu<T>(size, form, [=](Index i, auto gelu) { y[i] = gelu.value(x[i]); });
}

template <Scalar T>
void Gelu<T>::backward(const T* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  detail::gelu_backward([=](Index i) { return x[i]; }, dy, dx, size, form);
}

template <Scalar T>
void Gelu<T>::backward(const Bfloat16* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  detail::gelu_backward([=](Index i) { return static_cast<T>(static_cast<float>(x[i])); }, dy, dx, size,
                        form);
}

template <Scalar T>
void Gelu<T>::forward_rounded(const T* x, Bfloat16* rounded_x, Bfloat16* y, Index size, GeluForm form) {
  detail::for_each_gelu<T>(size, form, [=](Index i, auto gelu) {
    rounded_x[i] = Bfloat16::from(static_cast<float>(x[i]));
    y[i] = Bfloat16::from(static_cast<float>(gelu.value(static_cast<T>(static_cast<float>(rounded_x[i])))));
  });
}

template <Scalar T>
void Gelu<T>::backward_again(const T* x, const T* dy, T* dx, T* y, Index rows, Index columns,
                             GradientTarget<T> sum, GeluForm form) {
  detail::gelu_backward_rows(rows, columns, sum, form, [=](Index i, auto gelu) {
    const auto [value, slope] = gelu.both(x[i]);
    y[i] = value;
    return dx[i] = dy[i] * slope;
  });
}

template <Scalar T>
void Gelu<T>::backward_again(const Bfloat16* x, const T* dy, Bfloat16* dx, Bfloat16* y, Index rows,
                             Index columns, GradientTarget<T> sum, GeluForm form) {
  detail::gelu_backward_rows(rows, columns, sum, form, [=](Index i, auto gelu) {
    const auto [value, slope] = gelu.both(static_cast<T>(static_cast<float>(x[i])));
    const T exact = dy[i] * slope;
    dx[i] = Bfloat16::from(static_cast<float>(exact));
    y[i] = Bfloat16::from(static_cast<float>(value));
    return exact;
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gelu);
