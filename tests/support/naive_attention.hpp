#pragma once

#include <cmath>
#include <vector>

#include <exfusion/kernels/attention.hpp>

namespace exfusion::testing {

/// Attention as the textbook writes it, in double: the oracle of the tests.
struct NaiveAttention {
  kernels::AttentionSizes sizes;
  const double* qkv;

  double query(Index b, Index t, Index h, Index c) const { return qkv[at(b, t, 0, h, c)]; }
  double key(Index b, Index t, Index h, Index c) const { return qkv[at(b, t, 1, h, c)]; }
  double value(Index b, Index t, Index h, Index c) const { return qkv[at(b, t, 2, h, c)]; }

  /// Offset in qkv [B, T, 3D]; `part` is 0 for queries, 1 for keys, 2 for values.
  Index at(Index b, Index t, Index part, Index h, Index c) const {
    return (b * sizes.tokens + t) * 3 * sizes.d_model() + part * sizes.d_model() + h * sizes.d_head + c;
  }
  /// Offset in y [B, T, D].
  Index out(Index b, Index t, Index h, Index c) const {
    return (b * sizes.tokens + t) * sizes.d_model() + h * sizes.d_head + c;
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(sizes.d_head)); }
  Index keys_of(Index query) const { return sizes.causal ? query + 1 : sizes.tokens; }

  /// The probabilities of one query over its keys, and the logarithm of their denominator.
  std::vector<double> probabilities(Index b, Index h, Index q, double* log_sum_exp = nullptr) const {
    std::vector<double> p;
    double largest = -INFINITY, sum = 0;
    for (Index k = 0; k < keys_of(q); ++k) {
      double score = 0;
      for (Index c = 0; c < sizes.d_head; ++c) score += query(b, q, h, c) * key(b, k, h, c);
      p.push_back(score * scale());
      largest = std::max(largest, p.back());
    }
    for (double& score : p) sum += score = std::exp(score - largest);
    for (double& score : p) score /= sum;
    if (log_sum_exp != nullptr) *log_sum_exp = largest + std::log(sum);
    return p;
  }

  /// Calls `visit(b, h, q)` for every query of every head.
  template <class Visit>
  void each_query(Visit visit) const {
    for (Index b = 0; b < sizes.batch; ++b) {
      for (Index h = 0; h < sizes.heads; ++h) {
        for (Index q = 0; q < sizes.tokens; ++q) visit(b, h, q);
      }
    }
  }

  std::vector<double> log_sum_exp() const {
    std::vector<double> result;
    each_query([&](Index b, Index h, Index q) { probabilities(b, h, q, &result.emplace_back()); });
    return result;
  }

  std::vector<double> forward() const {
    std::vector<double> y(static_cast<std::size_t>(sizes.batch * sizes.tokens * sizes.d_model()));
    each_query([&](Index b, Index h, Index q) {
      const auto p = probabilities(b, h, q);
      for (Index c = 0; c < sizes.d_head; ++c) {
        double& sum = y[static_cast<std::size_t>(out(b, q, h, c))];
        for (Index k = 0; k < keys_of(q); ++k) sum += p[static_cast<std::size_t>(k)] * value(b, k, h, c);
      }
    });
    return y;
  }

  std::vector<double> backward(const double* dy) const {
    std::vector<double> dqkv(static_cast<std::size_t>(sizes.batch * sizes.tokens * 3 * sizes.d_model()));
    const auto gradient = [&](Index b, Index t, Index part, Index h, Index c) -> double& {
      return dqkv[static_cast<std::size_t>(at(b, t, part, h, c))];
    };
    each_query([&](Index b, Index h, Index q) {
      const auto p = probabilities(b, h, q);
      std::vector<double> dp(p.size());
      double delta = 0;
      for (std::size_t k = 0; k < p.size(); ++k) {
        for (Index c = 0; c < sizes.d_head; ++c) {
          dp[k] += dy[out(b, q, h, c)] * value(b, static_cast<Index>(k), h, c);
        }
        delta += p[k] * dp[k];
      }
      for (std::size_t i = 0; i < p.size(); ++i) {
        const auto k = static_cast<Index>(i);
        const double d_score = p[i] * (dp[i] - delta) * scale();
        for (Index c = 0; c < sizes.d_head; ++c) {
          gradient(b, q, 0, h, c) += d_score * key(b, k, h, c);
          gradient(b, k, 1, h, c) += d_score * query(b, q, h, c);
          gradient(b, k, 2, h, c) += p[i] * dy[out(b, q, h, c)];
        }
      }
    });
    return dqkv;
  }
};

}  // namespace exfusion::testing
