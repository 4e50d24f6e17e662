#pragma once

#include <exfusion/autograd/context.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/kernels/embedding.hpp>
#include <exfusion/ops/check_ids.hpp>

namespace exfusion::ops {

template <Scalar T>
struct EmbeddingNode {
  static constexpr std::string_view name = "embedding";
  IntTensor tokens;
  Tensor<T> weight, y;

  void backward() const {
    if (!weight.requires_grad()) return;
    kernels::Embedding<T>::backward(tokens.data(), tokens.size(), y.grad().data(), weight.shape()[1],
                                    weight.shape()[0], weight.open_gradient());
  }
};

/// The row of `weight` for each token: tokens [...] (rank up to 3) and weight [V, D] to y [..., D]. The
/// tokens must stay as they are until the backward pass. Throws ShapeError when the ranks do not fit, Error
/// naming the first token outside [0, V).
template <Scalar T>
Tensor<T> embedding(const Context<T>& ctx, const IntTensor& tokens, const Tensor<T>& weight) {
  if (weight.shape().rank() != 2) {
    throw ShapeError("embedding", "weight is ", weight.shape(), ": it must be [V, D]");
  }
  if (tokens.shape().rank() >= Shape::max_rank) {
    throw ShapeError("embedding", "tokens is ", tokens.shape(), ": its rank must be below ", Shape::max_rank);
  }
  detail::check_ids("embedding", "tokens", tokens, weight.shape()[0]);
  Tensor<T> y = ctx.output(tokens.shape().with_appended(weight.shape()[1]), weight);
  kernels::Embedding<T>::forward(tokens.data(), tokens.size(), weight.data(), weight.shape()[1], y.data());
  ctx.record(y, EmbeddingNode<T>{tokens, weight, y});
  return y;
}

}  // namespace exfusion::ops
