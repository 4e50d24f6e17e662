#pragma once

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/layer_norm.hpp>

namespace exfusion {

/// y = (x - mean) / sqrt(variance + eps) * weight + bias over the last axis, with weight [d_model], bias
/// [d_model]. Initially weight = 1, bias = 0.
template <Scalar T>
struct LayerNorm {
  Parameter<T> weight;
  Parameter<T> bias;
  double eps = 1e-5;

  LayerNorm() = default;
  explicit LayerNorm(Index d_model, double eps_ = 1e-5)
      : weight(Parameter<T>::constant({d_model}, T{1})), bias({d_model}), eps(eps_) {}

  static void fields(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }

  /// x [..., d_model] to the same shape. Throws ShapeError when the last axis is not d_model.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    return ops::layer_norm(ctx, x, weight, bias, eps);
  }
};

}  // namespace exfusion
