#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::train {

struct SampleOptions {
  double temperature = 0.8;  ///< Divides the logits; 0 always takes the likeliest token.
  Index top_k = 0;           ///< Choose among the k likeliest tokens; 0: among all.
  double top_p = 1;      ///< Of these among the fewest likeliest that have this probability together; 1: all.
  Index vocab_size = 0;  ///< Only tokens below this are drawn, for models with room for more; 0: all.
};

/// Throws ConfigError naming the first option that makes no sense, and its limit.
inline void check(const SampleOptions& options) {
  const auto require = [](bool holds, const char* name, auto value, const char* limit) {
    if (!holds) throw ConfigError("sample", name, " is ", value, ": it must be ", limit);
  };
  const auto& [temperature, top_k, top_p, vocab_size] = options;
  require(std::isfinite(temperature) && temperature >= 0, "temperature", temperature,
          "finite and not negative");
  require(top_k >= 0, "top_k", top_k, "0 or more");
  require(top_p > 0 && top_p <= 1, "top_p", top_p, "above 0 and at most 1");
  require(vocab_size >= 0, "vocab_size", vocab_size, "0 or more");
}

namespace detail {

/// The tokens to choose among: all, or, where `top_k` or `top_p` ask for it, the likeliest in order; of equal
/// ones the first.
template <Scalar T>
std::vector<std::int32_t> candidates(std::span<const T> logits, const SampleOptions& options) {
  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto is_before = [&](std::int32_t a, std::int32_t b) {
    const T x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  if (options.top_k > 0 && options.top_k < std::ssize(tokens)) {
    std::ranges::partial_sort(tokens, tokens.begin() + options.top_k, is_before);
    tokens.resize(static_cast<std::size_t>(options.top_k));
  } else if (options.top_p < 1) {
    std::ranges::sort(tokens, is_before);
  }
  return tokens;
}

}  // namespace detail

/// Draws a token from softmax(logits / temperature), logits [V], among those that the options leave: first
/// the `top_k` likeliest, of these the nucleus of `top_p` (arXiv 1904.09751). Tokens of
/// logit -inf are never drawn. Throws ConfigError as `check` does, ShapeError when there are no logits, Error
/// when one is NaN or +inf, or all are -inf.
template <Scalar T>
std::int32_t sample_token(std::span<const T> logits, const SampleOptions& options, Rng& rng) {
  check(options);
  if (options.vocab_size > 0 && options.vocab_size < std::ssize(logits))
    logits = logits.first(static_cast<std::size_t>(options.vocab_size));
  if (logits.empty()) throw ShapeError("sample", "there are no logits: at least one is needed");
  for (const T logit : logits) {
    if (std::isnan(logit) || (std::isinf(logit) && logit > 0))
      throw Error("sample", "a logit is ", logit, ": the model's weights are damaged");
  }
  const auto largest = static_cast<std::int32_t>(std::ranges::max_element(logits) - logits.begin());
  if (std::isinf(logits[static_cast<std::size_t>(largest)]))
    throw Error("sample", "every logit is -inf: no token is left");
  if (options.temperature == 0) return largest;

  const std::vector<std::int32_t> tokens = detail::candidates(logits, options);
  const auto logit = [&](std::int32_t token) {
    return static_cast<double>(logits[static_cast<std::size_t>(token)]);
  };
  std::vector<double> cumulative;
  cumulative.reserve(tokens.size());
  double sum = 0;
  for (const std::int32_t token : tokens)
    cumulative.push_back(sum += std::exp((logit(token) - logit(largest)) / options.temperature));
  if (options.top_p < 1) {
    const auto last = std::ranges::lower_bound(cumulative, options.top_p * sum);
    cumulative.erase(last + 1, cumulative.end());  // the last of all is the sum itself, so there is one
    sum = cumulative.back();
  }
  const auto place = std::ranges::upper_bound(cumulative, rng.uniform() * sum);
  return tokens[static_cast<std::size_t>(std::min(place, cumulative.end() - 1) - cumulative.begin())];
}

/// Continues `prompt` by at most `count` tokens and hands each to `use(token)` as soon as it is drawn, until
/// that returns false. `decoder(tokens)` appends tokens to what it has seen and returns the logits [V] after
/// them: a GptDecoder; it is not given the last token drawn. Throws ConfigError when the prompt is empty.
template <class Decoder, class Use>
void generate(Decoder&& decoder, std::span<const std::int32_t> prompt, Index count,
              const SampleOptions& options, Rng& rng, Use&& use) {
  if (prompt.empty()) throw ConfigError("generate", "the prompt is empty: at least one token is needed");
  std::int32_t token = 0;
  for (Index i = 0; i < count; ++i) {
    const std::span logits = decoder(i == 0 ? prompt : std::span<const std::int32_t>(&token, 1));
    token = sample_token(logits, options, rng);
    if (!use(token)) return;
  }
}

}  // namespace exfusion::train
