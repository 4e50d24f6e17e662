#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include <exfusion/autograd/context.hpp>
#include <exfusion/core/int_tensor.hpp>

namespace exfusion::train {

struct SampleOptions {
  double temperature = 0.8;  ///< Divides the logits; 0 always takes the likeliest token.
  Index top_k = 0;           ///< Choose among the k likeliest tokens; 0: among all.
};

/// Draws a token from softmax(logits / temperature), logits [V], among the `top_k` largest. Throws
/// ConfigError when an option is negative or not finite, Error when a logit is not finite.
template <Scalar T>
std::int32_t sample_token(std::span<const T> logits, const SampleOptions& options, Rng& rng) {
  const auto [temperature, top_k] = options;
  if (!(std::isfinite(temperature) && temperature >= 0)) {
    throw ConfigError("sample", "temperature is ", temperature, ": it must be finite and not negative");
  }
  if (top_k < 0) throw ConfigError("sample", "top_k is ", top_k, ": it must not be negative");
  for (const T logit : logits) {
    if (!std::isfinite(logit))
      throw Error("sample", "a logit is ", logit, ": the model's weights are damaged");
  }
  const auto largest = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
  if (temperature == 0) return largest;

  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto logit = [&](std::int32_t token) {
    return static_cast<double>(logits[static_cast<std::size_t>(token)]);
  };
  if (top_k > 0 && top_k < static_cast<Index>(tokens.size())) {
    std::ranges::partial_sort(tokens, tokens.begin() + top_k, std::ranges::greater{}, logit);
    tokens.resize(static_cast<std::size_t>(top_k));
  }
  std::vector<double> cumulative;
  cumulative.reserve(tokens.size());
  double sum = 0;
  for (const std::int32_t token : tokens) {
    cumulative.push_back(sum += std::exp((logit(token) - logit(largest)) / temperature));
  }
  const auto place = std::ranges::upper_bound(cumulative, rng.uniform() * sum);
  return tokens[static_cast<std::size_t>(std::min(place, cumulative.end() - 1) - cumulative.begin())];
}

/// Continues `tokens` by at most `count` tokens and hands each to `use(token)` as soon as it is drawn, until
/// that returns false. The model sees the last `context` tokens, computed anew for each. Throws ConfigError
/// when `tokens` is empty.
template <class Model, class Use>
void generate(const Model& model, std::vector<std::int32_t> tokens, Index count, const SampleOptions& options,
              Rng& rng, Use&& use) {
  if (tokens.empty()) throw ConfigError("generate", "the prompt is empty: at least one token is needed");
  for (Index i = 0; i < count; ++i) {
    const Index length = std::min(model.config.context, static_cast<Index>(tokens.size()));
    const auto recent = std::span(tokens).last(static_cast<std::size_t>(length));
    const auto logits = model.last_logits({}, IntTensor({1, length}, recent));
    using T = std::remove_pointer_t<decltype(logits.data())>;
    tokens.push_back(sample_token<T>(logits.values(), options, rng));
    if (!use(tokens.back())) return;
  }
}

}  // namespace exfusion::train
