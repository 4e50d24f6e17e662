#pragma once

#include <limits>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/gemm.hpp>
#include <exfusion/kernels/reduce.hpp>
#include <exfusion/kernels/sparse_moe.hpp>

namespace exfusion::ops {

/// Each token's experts and their weights: the result of `route`, shared by the operations around it.
template <Scalar T>
struct Routing {
  Tensor<T> gates;              ///< [N, k], differentiable.
  kernels::TokenGroups groups;  ///< Points into `indices`.
  Tensor<T> indices;            ///< Memory of the integer arrays.
};

template <Scalar T>
struct RouteNode {
  static constexpr std::string_view name = "route";
  Tensor<T> p;
  Routing<T> routing;

  void backward() const {
    const Tensor<T>& gates = routing.gates;
    kernels::SparseMoE<T>::route_backward(p.data(), gates.data(), gates.grad().data(), routing.groups,
                                          p.open_gradient());
  }
};

/// Chooses the k most probable experts of each token (the lower index when equal): p [N, E], rows that sum to
/// one. Gates: the probability itself with k = 1 (Switch Transformer, arXiv 2101.03961), divided by the sum
/// over the chosen otherwise (Mixtral, arXiv 2401.04088). Throws ConfigError when k is not in [1, E],
/// ShapeError when there is no token or N k is over 2^31 - 1.
template <Scalar T>
Routing<T> route(const Context<T>& ctx, const Tensor<T>& p, Index k) {
  if (p.shape().rank() != 2 || p.size() == 0) {
    throw ShapeError("route", "the probabilities are ", p.shape(), ": they must be [tokens, experts]");
  }
  const Index tokens = p.shape()[0], experts = p.shape()[1];
  if (k < 1 || k > experts) {
    throw ConfigError("route", "k = ", k, ": it must be between 1 and the number of experts, ", experts);
  }
  if (tokens > std::numeric_limits<std::int32_t>::max() / k) {
    throw ShapeError("route", tokens, " tokens with ", k, " experts each: over 2^31 - 1 rows");
  }
  constexpr Index per_number = sizeof(T) / sizeof(std::int32_t);
  const Index integers = kernels::TokenGroups::storage(tokens, k, experts);
  Routing<T> routing{ctx.output({tokens, k}, p), {}, ctx.saved({(integers + per_number - 1) / per_number})};
  auto* memory = reinterpret_cast<std::int32_t*>(routing.indices.data());
  routing.groups = {tokens, k, experts, memory, memory + tokens * k, memory + 2 * tokens * k};
  kernels::SparseMoE<T>::route(p.data(), routing.gates.data(), routing.groups);
  ctx.record(routing.gates, RouteNode<T>{p, routing});
  return routing;
}

template <Scalar T>
struct DispatchNode {
  static constexpr std::string_view name = "dispatch";
  Tensor<T> x, rows;
  Routing<T> routing;

  void backward() const {
    kernels::SparseMoE<T>::dispatch_backward(rows.grad().data(), routing.groups, x.shape()[1],
                                             x.open_gradient());
  }
};

/// Sorts tokens by expert: x [N, D] to [N k, D], each token once for each of its experts. Throws ShapeError
/// when the routing is for another number of tokens.
template <Scalar T>
Tensor<T> dispatch(const Context<T>& ctx, const Tensor<T>& x, const Routing<T>& routing) {
  if (x.shape().rank() != 2 || x.shape()[0] != routing.groups.tokens) {
    throw ShapeError("dispatch", "x is ", x.shape(), ": it must be [tokens, d] for ", routing.groups.tokens,
                     " routed tokens");
  }
  const Index d = x.shape()[1];
  Tensor<T> rows = ctx.output({routing.groups.rows(), d}, x);
  kernels::SparseMoE<T>::dispatch(x.data(), rows.data(), routing.groups, d);
  ctx.record(rows, DispatchNode<T>{x, rows, routing});
  return rows;
}

template <Scalar T>
struct GroupedLinearNode {
  static constexpr std::string_view name = "grouped_linear";
  Tensor<T> x, weight, bias, y;
  Rounded rounded_x, rounded_weight;
  Routing<T> routing;

  void backward() const {
    const auto dw = weight.open_gradient(), db = bias.open_gradient(), dx = x.open_gradient();
    const RoundedGradient<T> rounded_dy(*y.gradient(), static_cast<bool>(rounded_weight));
    const kernels::Operand<T> dy(y.grad().data(), rounded_dy.data(), x.shape()[0], d_out());
    for (Index e = 0; e < routing.groups.experts; ++e) {
      const kernels::Operand<T> dy_rows = rows_of(dy, e);
      if (db.data != nullptr) {
        kernels::Reduce<T>::sum_rows(dy_rows.exact.data, rows(e), d_out(), T{1},
                                     {db.data + e * d_out(), db.accumulate});
      }
      if (dw.data != nullptr) backward_weight(e, dy_rows, dw);
      if (dx.data != nullptr) backward_x(e, dy_rows, dx);
    }
  }

  /// What expert e computes with: its rows of x, and its weight.
  kernels::Operand<T> x_of(Index e) const {
    return rows_of({x.data(), rounded_x.data, x.shape()[0], d_in()}, e);
  }
  kernels::Operand<T> weight_of(Index e) const {
    const kernels::Operand<T> all(weight.data(), rounded_weight.data, weight.shape()[0] * d_out(), d_in());
    return all.rows_from(e * d_out(), d_out());
  }

 private:
  Index rows(Index e) const { return routing.groups.count(e); }
  Index first(Index e) const { return routing.groups.first[e]; }
  Index d_out() const { return weight.shape()[1]; }
  Index d_in() const { return weight.shape()[2]; }
  kernels::Operand<T> rows_of(const kernels::Operand<T>& all, Index e) const {
    return all.rows_from(first(e), rows(e));
  }

  void backward_weight(Index e, const kernels::Operand<T>& dy, GradientTarget<T> dw) const {
    T* target = dw.data + e * d_out() * d_in();
    if (rows(e) > 0) {
      kernels::Gemm<T>::multiply(dy.transposed(), x_of(e), kernels::dense_matrix(target, d_out(), d_in()),
                                 dw.accumulate);
    } else if (!dw.accumulate) {
      std::fill_n(target, d_out() * d_in(), T{0});
    }
  }

  void backward_x(Index e, const kernels::Operand<T>& dy, GradientTarget<T> dx) const {
    if (rows(e) == 0) return;
    kernels::Gemm<T>::multiply(
        dy, weight_of(e), kernels::dense_matrix(dx.data + first(e) * d_in(), rows(e), d_in()), dx.accumulate);
  }
};

/// Each expert's linear map on its own rows: x [N k, d_in] as `dispatch` sorted them, weight [E, d_out,
/// d_in], bias [E, d_out] (or none) to y [N k, d_out]. Throws ShapeError when the axes do not fit.
template <Scalar T>
Tensor<T> grouped_linear(const Context<T>& ctx, const Tensor<T>& x, const Tensor<T>& weight,
                         const Tensor<T>& bias, const Routing<T>& routing) {
  const Index experts = routing.groups.experts;
  if (weight.shape().rank() != 3 || weight.shape()[0] != experts) {
    throw ShapeError("grouped_linear", "weight is ", weight.shape(), ": it must be [", experts,
                     ", d_out, d_in]");
  }
  const Index d_out = weight.shape()[1], d_in = weight.shape()[2];
  if (x.shape() != Shape{routing.groups.rows(), d_in}) {
    throw ShapeError("grouped_linear", "x is ", x.shape(), ": it must be ",
                     Shape{routing.groups.rows(), d_in});
  }
  if (bias && bias.shape() != Shape{experts, d_out}) {
    throw ShapeError("grouped_linear", "bias is ", bias.shape(), ": it must be ", Shape{experts, d_out});
  }
  Tensor<T> y = ctx.output({routing.groups.rows(), d_out}, x, weight, bias);
  const GroupedLinearNode<T> node{x, weight, bias, y, ctx.rounded(x), ctx.rounded(weight), routing};
  for (Index e = 0; e < experts; ++e) {
    const Index rows = routing.groups.count(e);
    if (rows == 0) continue;
    kernels::Gemm<T>::multiply(node.x_of(e), node.weight_of(e).transposed(),
                               kernels::dense_matrix(y.data() + routing.groups.first[e] * d_out, rows, d_out),
                               false, bias ? bias.data() + e * d_out : nullptr);
  }
  ctx.record(y, node);
  return y;
}

template <Scalar T>
struct CombineNode {
  static constexpr std::string_view name = "combine";
  Tensor<T> rows, y;
  Routing<T> routing;

  void backward() const {
    using Kernel = kernels::SparseMoE<T>;
    const Index d = y.shape()[1];
    const T* dy = y.grad().data();
    if (routing.gates.requires_grad()) {
      Kernel::combine_backward_gates(rows.data(), dy, routing.groups, d, routing.gates.open_gradient());
    }
    if (rows.requires_grad()) {
      Kernel::combine_backward_rows(routing.gates.data(), dy, routing.groups, d, rows.open_gradient());
    }
  }
};

/// The experts' answers weighted by the gates, one sum for each token: rows [N k, D] to [N, D]. Throws
/// ShapeError when the routing is for another number of rows.
template <Scalar T>
Tensor<T> combine(const Context<T>& ctx, const Tensor<T>& rows, const Routing<T>& routing) {
  if (rows.shape().rank() != 2 || rows.shape()[0] != routing.groups.rows()) {
    throw ShapeError("combine", "rows are ", rows.shape(), ": they must be [", routing.groups.rows(), ", d]");
  }
  const Index d = rows.shape()[1];
  Tensor<T> y = ctx.output({routing.groups.tokens, d}, rows, routing.gates);
  kernels::SparseMoE<T>::combine(rows.data(), routing.gates.data(), y.data(), routing.groups, d);
  ctx.record(y, CombineNode<T>{rows, y, routing});
  return y;
}

template <Scalar T>
struct BalanceLossNode {
  static constexpr std::string_view name = "balance_loss";
  Tensor<T> p, loss;
  Routing<T> routing;
  T scale;

  void backward() const {
    kernels::SparseMoE<T>::balance_backward(routing.groups, scale * loss.grad()[0], p.open_gradient());
  }
};

/// Load-balancing loss scale * E * sum over experts of f_e P_e (arXiv 2101.03961, equations 4 to 6; f_e is
/// the share of all N k choices, so that even use of all experts gives `scale` for any k): p [N, E], the
/// probabilities that `routing` was made from, to a scalar.
template <Scalar T>
Tensor<T> balance_loss(const Context<T>& ctx, const Tensor<T>& p, const Routing<T>& routing, double scale) {
  const Shape expected{routing.groups.tokens, routing.groups.experts};
  if (p.shape() != expected) {
    throw ShapeError("balance_loss", "the probabilities are ", p.shape(), ": they must be ", expected);
  }
  const auto factor = static_cast<T>(scale);
  Tensor<T> loss = ctx.output(Shape{}, p);
  const Tensor<T> totals = ctx.saved({routing.groups.experts});
  *loss.data() = kernels::SparseMoE<T>::balance(p.data(), totals.data(), routing.groups, factor);
  ctx.record(loss, BalanceLossNode<T>{p, loss, routing, factor});
  return loss;
}

}  // namespace exfusion::ops
