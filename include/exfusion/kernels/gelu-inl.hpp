#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/activation.hpp>
#include <exfusion/kernels/elementwise.hpp>
#include <exfusion/kernels/gelu.hpp>
#include <exfusion/kernels/gelu_table.hpp>
#include <exfusion/kernels/prefetch.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/row_sums.hpp>

namespace exfusion::kernels {

namespace detail {

/// Calls `body(gelu)`, where `gelu` has the functions of the form.
template <class Body>
void with_gelu(GeluForm form, const Body& body) {
  form == GeluForm::tanh ? body(GeluTanh()) : body(GeluErf());
}

/// The table of the form.
template <Scalar T>
const GeluTable<T>& gelu_table(GeluForm form) {
  return form == GeluForm::tanh ? GeluTable<T>::template of<GeluTanh>()
                                : GeluTable<T>::template of<GeluErf>();
}

/// Calls `body(begin, count)` for all of `size` numbers, as many at a time as can be looked up, in parallel.
template <class Body>
void for_each_lookup(Index size, const Body& body) {
  parallel_for(size, elementwise_grain, [&](Index begin, Index end) {
    for (; begin < end; begin += TablePlaces::most) body(begin, std::min(end - begin, TablePlaces::most));
  });
}

}  // namespace detail

template <Scalar T>
void Gelu<T>::forward(const T* x, T* y, Index size, GeluForm form) {
  detail::with_gelu(form, [&](auto gelu) {
    parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
      write_streaming<T>(
          {y, false}, begin, end, [=](Index i) { return gelu.value(x[i]); }, x);
    });
  });
}

template <Scalar T>
void Gelu<T>::backward(const T* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  detail::with_gelu(form, [&](auto gelu) {
    parallel_for(size, elementwise_grain, [=](Index begin, Index end) {
      write_streaming(
          dx, begin, end, [=](Index i) { return dy[i] * gelu.slope(x[i]); }, x, dy);
    });
  });
}

template <Scalar T>
void Gelu<T>::backward(const Bfloat16* x, const T* dy, GradientTarget<T> dx, Index size, GeluForm form) {
  const T* slopes = detail::gelu_table<T>(form).slopes.data();
  detail::for_each_lookup(size, [=](Index begin, Index count) {
    alignas(64) std::array<T, detail::TablePlaces::most> slope;
    detail::TablePlaces(x + begin, count).look_up(slopes, slope.data());
    const T *from = slope.data(), *gradient = dy + begin;
    write<T>({dx.data + begin, dx.accumulate}, 0, count, [=](Index i) { return gradient[i] * from[i]; });
  });
}

template <Scalar T>
void Gelu<T>::forward(const Bfloat16* x, Bfloat16* y, Index size, GeluForm form) {
  const std::uint32_t* values = detail::gelu_table<T>(form).values.data();
  detail::for_each_lookup(size, [=](Index begin, Index count) {
    detail::TablePlaces(x + begin, count).look_up(values, y + begin);
  });
}

template <Scalar T>
void Gelu<T>::backward_again(const T* x, const T* dy, T* dx, T* y, Index rows, Index columns,
                             GradientTarget<T> sum, GeluForm form) {
  constexpr bool vectorised = std::same_as<T, float>;  // in double, GELU calls the standard library
  detail::with_gelu(form, [&](auto gelu) {
    detail::sum_computed_rows(rows, columns, sum, [=](Index row, Index column, Index width, T* computed) {
      const Index first = row * columns + column;
      const auto compute = [=](Index begin, Index end) {
#pragma omp simd if (vectorised)
        for (Index c = begin; c < end; ++c) {
          const auto [value, slope] = gelu.both(x[first + c]);
          y[first + c] = value;
          computed[c] = dx[first + c] = dy[first + c] * slope;
        }
      };
      stream(width, compute, x + first, dy + first, y + first);
    });
  });
}

template <Scalar T>
void Gelu<T>::backward_again(const Bfloat16* x, const Bfloat16* dy, Bfloat16* dx, Bfloat16* y, Index rows,
                             Index columns, GradientTarget<T> sum, GeluForm form) {
  const auto& table = detail::gelu_table<T>(form);
  detail::sum_computed_rows(rows, columns, sum, [&](Index row, Index column, Index width, T* exact) {
    const Index first = row * columns + column;
    for (Index c = 0; c < width; c += detail::TablePlaces::most) {
      const Index count = std::min(width - c, detail::TablePlaces::most), place = first + c;
      const detail::TablePlaces places(x + place, count);
      places.look_up(table.values.data(), y + place);
      places.look_up(table.slopes.data(), exact + c);
#pragma omp simd
      for (Index i = 0; i < count; ++i) exact[c + i] *= static_cast<T>(static_cast<float>(dy[place + i]));
      Round<T>::to_bfloat16_serial(exact + c, dx + place, count);
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Gelu);
