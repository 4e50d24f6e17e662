#pragma once

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/drop_path.hpp>
#include <exfusion/kernels/elementwise.hpp>

namespace exfusion::kernels {

template <Scalar T>
void DropPath<T>::apply(const T* x, GradientTarget<T> y, Index samples, Index size, double p,
                        Rng::State first) {
  parallel_for(samples, rows_grain(size), [=](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) {
      const Rng::Block bits = Rng::at({first.key, first.counter + static_cast<std::uint64_t>(b)});
      const bool dropped = static_cast<double>(bits[0]) * 0x1p-32 < p;
      const T factor = dropped ? T{0} : static_cast<T>(1 / (1 - p));
      const T* from = x + b * size;
      write<T>({y.data + b * size, y.accumulate}, 0, size, [=](Index i) { return factor * from[i]; });
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::DropPath);
