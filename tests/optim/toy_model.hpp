#pragma once

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/nn/module.hpp>

namespace exfusion::testing {

/// One matrix, one bias, and a slab of experts, without any computation: tests write the gradients.
template <Scalar T>
struct ToyModel {
  Parameter<T> weight;
  Parameter<T> bias;
  ExpertSlab<T> experts;

  static void fields(auto& self, auto&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
    visit("ffn.experts", self.experts);
  }
};

/// Names as in a feed-forward network; the sizes leave padding behind each segment.
inline std::vector<SlabSegment> toy_segments(Index d_model, Index d_ff) {
  return {{"up.weight", {d_ff, d_model}, true},
          {"up.bias", {d_ff}, false},
          {"down.weight", {d_model, d_ff}, true},
          {"down.bias", {d_model}, false}};
}

/// A slab of random experts; padding is zero.
template <Scalar T>
ExpertSlab<T> random_slab(Index experts, FusionGranularity granularity, bool constant_weights, Rng& rng,
                          Index d_model = 7, Index d_ff = 17) {
  ExpertSlab<T> slab(experts, toy_segments(d_model, d_ff), granularity, constant_weights);
  for (Index i = 0; i < experts; ++i) {
    for (const auto& segment : slab.segments()) rng.fill_normal(slab.expert(i, segment), 0.0, 1.0);
  }
  return slab;
}

template <Scalar T>
ToyModel<T> random_toy(Index experts, FusionGranularity granularity, bool constant_weights, Rng& rng,
                       Index d_model = 7, Index d_ff = 17) {
  return {Parameter<T>::normal({5, 3}, 1.0, rng), Parameter<T>::normal({5}, 1.0, rng),
          random_slab<T>(experts, granularity, constant_weights, rng, d_model, d_ff)};
}

/// Writes a random gradient, as a backward pass would.
template <Scalar T>
void random_gradient(const Tensor<T>& tensor, Rng& rng, double scale = 1.0) {
  rng.fill_normal(std::span<T>(tensor.open_gradient().data, static_cast<std::size_t>(tensor.size())), 0.0,
                  scale);
}

template <Scalar T>
void random_gradients(const ParameterList<T>& list, Rng& rng, double scale = 1.0) {
  for (const auto& parameter : list.parameters) random_gradient(parameter.tensor, rng, scale);
  for (const auto& [name, slab] : list.slabs) {
    for (std::size_t i = 0; i < slab.segments().size(); ++i) random_gradient(slab.fused(i), rng, scale);
  }
}

/// Positive weights with sum 1 in each group.
template <Scalar T>
void random_weights(const ExpertSlab<T>& slab, Rng& rng) {
  const Index experts = slab.experts();
  for (Index group = 0; group < slab.groups(); ++group) {
    const auto a =
        slab.weights().subspan(static_cast<std::size_t>(group * experts), static_cast<std::size_t>(experts));
    T sum = 0;
    for (T& value : a) sum += value = static_cast<T>(0.1 + rng.uniform());
    for (T& value : a) value /= sum;
  }
}

/// W [P] = sum_i a_i W_i with the slab's present weights.
template <Scalar T>
std::vector<T> fused_weights(const ExpertSlab<T>& slab) {
  std::vector<T> fused(static_cast<std::size_t>(slab.row_size()), T{0});
  for (const FusionSpan& span : slab.spans()) {
    for (Index i = 0; i < slab.experts(); ++i) {
      const T a = slab.weights()[static_cast<std::size_t>(span.group * slab.experts() + i)];
      for (Index j = span.begin; j < span.begin + span.size; ++j) {
        fused[static_cast<std::size_t>(j)] += a * slab.expert(i)[static_cast<std::size_t>(j)];
      }
    }
  }
  return fused;
}

/// Largest distance of the slab's numbers, padding included, from `expected`.
inline double worst_difference(const ExpertSlab<double>& slab, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t k = 0; k < expected.size(); ++k) {
    worst = std::max(worst, std::abs(slab.data()[k] - expected[k]));
  }
  return worst;
}

/// A dense model as a slab of one expert with weight 1: the fused weights of `slab`.
inline ToyModel<double> dense_twin(const ExpertSlab<double>& slab) {
  ToyModel<double> dense{{}, {}, ExpertSlab<double>(1, slab.segments(), FusionGranularity::layer, true)};
  dense.experts.weights()[0] = 1;
  std::ranges::copy(fused_weights(slab), dense.experts.data());
  return dense;
}

/// Gives `to` the dense gradient of `from`.
inline void copy_gradient(const ExpertSlab<double>& from, const ExpertSlab<double>& to) {
  std::copy_n(from.gradient(), from.row_size(), to.gradient());
}

inline constexpr FusionGranularity granularities[] = {FusionGranularity::layer, FusionGranularity::matrix,
                                                      FusionGranularity::row};

/// The committed fixture of scripts/make_optim_fixtures.py.
inline nlohmann::json torch_cases() {
  std::ifstream file(EXFUSION_SOURCE_DIR "/tests/fixtures/optim.json");
  return nlohmann::json::parse(file).at("cases");
}

template <Scalar T>
struct SingleTensor {
  Parameter<T> weight;
  static void fields(auto& self, auto&& visit) { visit("weight", self.weight); }
};

/// Largest difference to PyTorch's values over the steps of one case. `make(parameter, options)` makes the
/// optimizer.
template <Scalar T, class Make>
double worst_difference_to_torch(const nlohmann::json& fixture, const Make& make) {
  const auto initial = fixture.at("initial").template get<std::vector<T>>();
  SingleTensor<T> model{Parameter<T>({1, static_cast<Index>(initial.size())})};
  std::ranges::copy(initial, model.weight.data());
  auto optimizer = make(model, fixture.at("options"));
  double worst = 0;
  for (const auto& step : fixture.at("steps")) {
    optimizer.set_learning_rate(step.at("lr"));
    if (!step.at("gradient").is_null()) {
      const auto gradient = step.at("gradient").template get<std::vector<T>>();
      std::ranges::copy(gradient, model.weight.open_gradient().data);
    }
    optimizer.step();
    const auto values = step.at("values").template get<std::vector<double>>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(model.weight.data()[i]) - values[i]));
    }
  }
  return worst;
}

}  // namespace exfusion::testing
