#pragma once

#include <cstdint>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion::kernels {

/// Which experts serve which tokens: N tokens with k different experts each, as R = N k rows sorted by
/// expert, then by token.
struct TokenGroups {
  Index tokens = 0;   ///< N
  Index chosen = 0;   ///< k
  Index experts = 0;  ///< E
  /// [N, k]: each token's experts, the most probable first.
  std::int32_t* expert = nullptr;
  /// [N, k]: the row of that token and expert among the R rows.
  std::int32_t* row = nullptr;
  /// [E + 1] (and one element of scratch): expert e owns the rows first[e] .. first[e + 1] - 1.
  std::int32_t* first = nullptr;

  /// R = N k.
  Index rows() const { return tokens * chosen; }
  /// Rows of expert e.
  Index count(Index e) const { return first[e + 1] - first[e]; }
  /// 32-bit integers behind the three arrays.
  static Index storage(Index tokens, Index chosen, Index experts) {
    return 2 * tokens * chosen + experts + 2;
  }
};

/// What a mixture of experts does around its experts' own products. `gates` [N, k] are the weights of each
/// token's experts: with k = 1 the router's probability (Switch Transformer, arXiv 2101.03961), otherwise the
/// probabilities divided by their sum over the chosen (Mixtral, arXiv 2401.04088).
template <Scalar T>
struct SparseMoE {
  /// Chooses the k largest of each row of p [N, E] (the lower index when equal), writes gates and fills
  /// `groups`.
  static void route(const T* p, T* gates, const TokenGroups& groups);
  /// dp [N, E] (+)= the derivative through the gates; the choice itself is constant.
  static void route_backward(const T* p, const T* gates, const T* dgates, const TokenGroups& groups,
                             GradientTarget<T> dp);

  /// rows [R, D]: x [N, D] copied to each row of its token.
  static void dispatch(const T* x, T* rows, const TokenGroups& groups, Index d);
  /// dx [N, D] (+)= sums of drows [R, D] over each token's rows.
  static void dispatch_backward(const T* drows, const TokenGroups& groups, Index d, GradientTarget<T> dx);

  /// y [N, D]: sums over each token's rows [R, D], weighted by its gates.
  static void combine(const T* rows, const T* gates, T* y, const TokenGroups& groups, Index d);
  /// drows [R, D] (+)= gate * dy.
  static void combine_backward_rows(const T* gates, const T* dy, const TokenGroups& groups, Index d,
                                    GradientTarget<T> drows);
  /// dgates [N, k] (+)= <row, dy>.
  static void combine_backward_gates(const T* rows, const T* dy, const TokenGroups& groups, Index d,
                                     GradientTarget<T> dgates);

  /// scale * E * sum over experts of f_e P_e (arXiv 2101.03961, equations 4 to 6): f_e the share of the R
  /// rows, P_e the mean of p [N, E] over tokens. Even use of all experts gives `scale`. `totals` [E] is
  /// scratch.
  static T balance(const T* p, T* totals, const TokenGroups& groups, T scale);
  /// dp [N, E] (+)= scale * E * f_e / N; f is piecewise constant.
  static void balance_backward(const TokenGroups& groups, T scale, GradientTarget<T> dp);
};

}  // namespace exfusion::kernels

#if !EXFUSION_DECLARE_ONLY
#include <exfusion/kernels/sparse_moe-inl.hpp>
#endif
