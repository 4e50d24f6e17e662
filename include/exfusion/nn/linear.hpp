#pragma once

#include <exfusion/autograd/parameter.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/ops/linear.hpp>

namespace exfusion {

/// Fully connected layer y = x W^T + b with weight [d_out, d_in], bias [d_out].
/// Initially weight ~ N(0, std^2), bias = 0.
template <Scalar T>
struct Linear {
  Parameter<T> weight;
  Parameter<T> bias;

  Linear() = default;
  Linear(Index d_in, Index d_out, double std, Rng& rng, bool with_bias = true)
      : weight(Parameter<T>::normal({d_out, d_in}, std, rng)),
        bias(with_bias ? Parameter<T>({d_out}) : Parameter<T>()) {}

  static void fields(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }

  /// x [..., d_in] to [..., d_out]. Throws ShapeError when the last axis is not d_in.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& x) const {
    return ops::linear(ctx, x, weight, bias);
  }
};

}  // namespace exfusion
