#pragma once

#include <exfusion/kernels/attention.hpp>
#include <exfusion/kernels/attention_heads.hpp>

namespace exfusion::kernels {

template <Scalar T>
void Attention<T>::forward(const T* qkv, T* y, T* log_sum_exp, const AttentionSizes& sizes) {
  detail::attention_forward<detail::AttentionFactors<detail::PlainNumbers<T>>>(qkv, y, log_sum_exp, sizes);
}

template <Scalar T>
void Attention<T>::forward(const Bfloat16* qkv, Bfloat16* y, T* log_sum_exp, const AttentionSizes& sizes) {
  detail::attention_forward<detail::AttentionFactors<detail::Bfloat16Numbers<T>>>(qkv, y, log_sum_exp, sizes);
}

template <Scalar T>
void Attention<T>::backward(const T* qkv, const T* y, const T* log_sum_exp, const T* dy,
                            GradientTarget<T> dqkv, const AttentionSizes& sizes) {
  using Factors = detail::AttentionFactors<detail::PlainNumbers<T>>;
  detail::AttentionParts<Factors>({qkv, y, log_sum_exp, dy, dqkv.data, dqkv.accumulate, sizes}).run();
}

template <Scalar T>
void Attention<T>::backward(const Bfloat16* qkv, const Bfloat16* y, const T* log_sum_exp, const Bfloat16* dy,
                            Bfloat16* dqkv, const AttentionSizes& sizes) {
  using Factors = detail::AttentionFactors<detail::Bfloat16Numbers<T>>;
  detail::AttentionParts<Factors>({qkv, y, log_sum_exp, dy, dqkv, false, sizes}).run();
}

}  // namespace exfusion::kernels

EXFUSION_INSTANTIATE(exfusion::kernels::Attention);
