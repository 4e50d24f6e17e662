#pragma once

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/rms_norm.hpp>

namespace exfusion {

/// y = x / sqrt(mean(x^2) + eps) * weight over the last axis, with weight [d_model]. Initially weight = 1.
template <Scalar T>
struct RmsNorm {
  Parameter<T> weight;
  double eps = 1e-5;

  RmsNorm() = default;
  explicit RmsNorm(Index d_model, double eps_ = 1e-5)
      : weight(Parameter<T>::constant({d_model}, T{1})), eps(eps_) {}

  static void fields(auto& self, auto&& visit) { visit("weight", self.weight); }

  /// x [..., d_model] to the same shape. Throws ShapeError when the last axis is not d_model.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    return ops::rms_norm(ctx, x, weight, eps);
  }
};

}  // namespace exfusion
