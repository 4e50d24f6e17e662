#pragma once

#include <algorithm>

#include <exfusion/core/parallel.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/sparse_moe.hpp>

namespace exfusion::kernels {

namespace detail {

inline constexpr Index token_grain = 32;

/// The largest of p [E] that is not among `taken`; the lower index when equal. Always an index, even when
/// everything is NaN.
template <Scalar T>
std::int32_t largest_free(const T* p, Index experts, const std::int32_t* taken, Index n_taken) {
  std::int32_t best = -1;
  for (std::int32_t e = 0; e < experts; ++e) {
    if (best >= 0 && !(p[e] > p[best])) continue;
    if (std::find(taken, taken + n_taken, e) == taken + n_taken) best = e;
  }
  return best;
}

/// Counting sort by expert. `first` counts two places ahead, so that after the prefix sum first[e + 1] is
/// where e's rows begin and, once all are placed, where they end.
inline void sort_by_expert(const TokenGroups& groups) {
  std::fill_n(groups.first, groups.experts + 2, 0);
  for (Index i = 0; i < groups.rows(); ++i) ++groups.first[groups.expert[i] + 2];
  for (Index e = 0; e < groups.experts; ++e) groups.first[e + 2] += groups.first[e + 1];
  for (Index i = 0; i < groups.rows(); ++i) groups.row[i] = groups.first[groups.expert[i] + 1]++;
}

}  // namespace detail

template <Scalar T>
void SparseMoE<T>::route(const T* p, T* gates, const TokenGroups& groups) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index token = begin; token < end; ++token) {
      const T* row = p + token * groups.experts;
      std::int32_t* expert = groups.expert + token * k;
      T sum = 0;
      for (Index slot = 0; slot < k; ++slot) {
        expert[slot] = detail::largest_free(row, groups.experts, expert, slot);
        sum += row[expert[slot]];
      }
      for (Index slot = 0; slot < k; ++slot) {
        gates[token * k + slot] = k == 1 ? row[expert[0]] : row[expert[slot]] / sum;
      }
    }
  });
  detail::sort_by_expert(groups);
}

template <Scalar T>
void SparseMoE<T>::route_backward(const T* p, const T* gates, const T* dgates, const TokenGroups& groups,
                                  GradientTarget<T> dp) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index token = begin; token < end; ++token) {
      const T* row = p + token * groups.experts;
      T* target = dp.data + token * groups.experts;
      if (!dp.accumulate) std::fill_n(target, groups.experts, T{0});
      const std::int32_t* expert = groups.expert + token * k;
      T sum = 0, mean = 0;
      for (Index slot = 0; slot < k; ++slot) {
        sum += row[expert[slot]];
        mean += gates[token * k + slot] * dgates[token * k + slot];
      }
      for (Index slot = 0; slot < k; ++slot) {
        const T dgate = dgates[token * k + slot];
        target[expert[slot]] += k == 1 ? dgate : (dgate - mean) / sum;
      }
    }
  });
}

template <Scalar T>
void SparseMoE<T>::dispatch(const T* x, T* rows, const TokenGroups& groups, Index d) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index i = begin * k; i < end * k; ++i) std::copy_n(x + i / k * d, d, rows + groups.row[i] * d);
  });
}

template <Scalar T>
void SparseMoE<T>::dispatch_backward(const T* drows, const TokenGroups& groups, Index d,
                                     GradientTarget<T> dx) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index token = begin; token < end; ++token) {
      T* target = dx.data + token * d;
      if (!dx.accumulate) std::fill_n(target, d, T{0});
      for (Index slot = 0; slot < k; ++slot) {
        const T* row = drows + groups.row[token * k + slot] * d;
        for (Index c = 0; c < d; ++c) target[c] += row[c];
      }
    }
  });
}

template <Scalar T>
void SparseMoE<T>::combine(const T* rows, const T* gates, T* y, const TokenGroups& groups, Index d) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index token = begin; token < end; ++token) {
      T* target = y + token * d;
      std::fill_n(target, d, T{0});
      for (Index slot = 0; slot < k; ++slot) {
        const T gate = gates[token * k + slot];
        const T* row = rows + groups.row[token * k + slot] * d;
        for (Index c = 0; c < d; ++c) target[c] += gate * row[c];
      }
    }
  });
}

template <Scalar T>
void SparseMoE<T>::combine_backward_rows(const T* gates, const T* dy, const TokenGroups& groups, Index d,
                                         GradientTarget<T> drows) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index i = begin * k; i < end * k; ++i) {
      const T* source = dy + i / k * d;
      T* target = drows.data + groups.row[i] * d;
      for (Index c = 0; c < d; ++c) target[c] = gates[i] * source[c] + (drows.accumulate ? target[c] : T{0});
    }
  });
}

template <Scalar T>
void SparseMoE<T>::combine_backward_gates(const T* rows, const T* dy, const TokenGroups& groups, Index d,
                                          GradientTarget<T> dgates) {
  const Index k = groups.chosen;
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index i = begin * k; i < end * k; ++i) {
      const T* source = dy + i / k * d;
      const T* row = rows + groups.row[i] * d;
      T sum = 0;
      for (Index c = 0; c < d; ++c) sum += row[c] * source[c];
      dgates.data[i] = sum + (dgates.accumulate ? dgates.data[i] : T{0});
    }
  });
}

template <Scalar T>
T SparseMoE<T>::balance(const T* p, T* totals, const TokenGroups& groups, T scale) {
  Reduce<T>::sum_rows(p, groups.tokens, groups.experts, T{1}, {totals, false});
  double sum = 0;
  for (Index e = 0; e < groups.experts; ++e) {
    sum += static_cast<double>(groups.count(e)) * static_cast<double>(totals[e]);
  }
  const auto pairs = static_cast<double>(groups.rows()) * static_cast<double>(groups.tokens);
  return scale * static_cast<T>(static_cast<double>(groups.experts) * sum / pairs);
}

template <Scalar T>
void SparseMoE<T>::balance_backward(const TokenGroups& groups, T scale, GradientTarget<T> dp) {
  const Index experts = groups.experts;
  const double pairs = static_cast<double>(groups.rows()) * static_cast<double>(groups.tokens);
  const T factor = scale * static_cast<T>(static_cast<double>(experts) / pairs);
  parallel_for(groups.tokens, detail::token_grain, [=](Index begin, Index end) {
    for (Index token = begin; token < end; ++token) {
      T* target = dp.data + token * experts;
      for (Index e = 0; e < experts; ++e) {
        target[e] = factor * static_cast<T>(groups.count(e)) + (dp.accumulate ? target[e] : T{0});
      }
    }
  });
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::SparseMoE);
