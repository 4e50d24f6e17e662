#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <exfusion/autograd/context.hpp>
#include <exfusion/nn/module.hpp>

namespace exfusion::testing {

struct GradCheckOptions {
  /// Largest accepted error of a derivative, relative to the largest derivative of the same tensor.
  double tolerance = 1e-6;
  /// Half the distance between the two points of the central difference.
  double epsilon = 1e-5;
  /// Seed of the output's random weights and of `Context::rng` in every pass.
  std::uint64_t seed = 7;
  bool training = true;
};

struct GradCheckResult {
  bool passed = true;
  double worst_error = 0;
  std::string worst_place = "nowhere";
  Index derivatives = 0;

  /// Whether there was anything to compare, and all of it agreed.
  explicit operator bool() const { return passed && derivatives > 0; }

  friend std::ostream& operator<<(std::ostream& out, const GradCheckResult& result) {
    return out << result.derivatives << " derivatives, worst relative error " << result.worst_error << " at "
               << result.worst_place;
  }
};

/// Computes a tensor of any shape with the given context.
using Forward = std::function<Tensor<double>(const Context<double>&)>;

/// The objective of a gradient check: a fixed random weighting of the output's elements, plus the tape's
/// added losses. Every pass sees the same random numbers.
class GradCheckObjective {
 public:
  GradCheckObjective(Forward forward, GradCheckOptions options)
      : forward_(std::move(forward)), options_(options) {}

  double operator()(bool with_gradients) {
    Rng rng(options_.seed);
    const Context<double> ctx{.tape = &tape_, .rng = &rng, .training = options_.training};
    const Tensor<double> y = forward_(ctx);
    if (weights_.empty()) {
      weights_.resize(static_cast<std::size_t>(y.size()));
      Rng(options_.seed + 1).fill_normal(std::span<double>(weights_), 0.0, 1.0);
    }
    const Tensor<double> loss = ctx.output(Shape{}, y);
    *loss.data() = std::inner_product(weights_.begin(), weights_.end(), y.data(), 0.0);
    ctx.record(loss, WeightedSumNode{y, &weights_});
    const double value = *loss.data() + tape_.added_loss();
    if (with_gradients) tape_.backward(loss);
    tape_.clear();
    return value;
  }

 private:
  struct WeightedSumNode {
    static constexpr std::string_view name = "weighted_sum";
    Tensor<double> y;
    const std::vector<double>* weights;

    void backward() const {
      const GradientTarget<double> dy = y.open_gradient();
      for (std::size_t i = 0; i < weights->size(); ++i) {
        dy.data[i] = (*weights)[i] + (dy.accumulate ? dy.data[i] : 0.0);
      }
    }
  };

  Forward forward_;
  GradCheckOptions options_;
  Tape<double> tape_;
  std::vector<double> weights_;
};

namespace detail {

inline double central_difference(GradCheckObjective& objective, double& value, double epsilon) {
  const double kept = value;
  value = kept + epsilon;
  const double above = objective(false);
  value = kept - epsilon;
  const double below = objective(false);
  value = kept;
  return (above - below) / (2 * epsilon);
}

inline void compare(std::size_t input, const std::vector<double>& tape, const std::vector<double>& difference,
                    double tolerance, GradCheckResult& result) {
  double scale = 1e-3;  // below it the difference quotient's rounding noise would be all that is compared
  for (double value : tape) scale = std::max(scale, std::abs(value));
  for (double value : difference) scale = std::max(scale, std::abs(value));
  for (std::size_t i = 0; i < tape.size(); ++i) {
    const double error = std::abs(tape[i] - difference[i]) / scale;
    ++result.derivatives;
    if (!(error <= tolerance)) result.passed = false;
    if (error <= result.worst_error) continue;
    std::ostringstream place;
    place << "input " << input << " element " << i << ": tape " << tape[i] << ", difference "
          << difference[i];
    result.worst_error = error;
    result.worst_place = place.str();
  }
}

/// Numbers to vary, beside their gradient from the tape.
struct CheckedValues {
  std::span<double> values;
  std::vector<double> tape;
};

inline void take_gradient(const Tensor<double>& input, std::vector<CheckedValues>& checked) {
  CheckedValues taken{input.values(), std::vector<double>(static_cast<std::size_t>(input.size()), 0.0)};
  if (input.gradient()->defined) std::ranges::copy(input.grad(), taken.tape.begin());
  input.gradient()->clear();
  checked.push_back(std::move(taken));
}

/// Every expert's gradient a_i G, segment by segment.
inline void take_gradient(const ExpertSlab<double>& slab, std::vector<CheckedValues>& checked) {
  for (Index i = 0; i < slab.experts(); ++i) {
    std::vector<double> row(static_cast<std::size_t>(slab.row_size()), 0.0);
    for (const FusionSpan& span : slab.spans()) {
      const double a = slab.weights()[static_cast<std::size_t>(span.group * slab.experts() + i)];
      for (Index j = span.begin; j < span.begin + span.size; ++j) {
        row[static_cast<std::size_t>(j)] = a * slab.gradient()[j];
      }
    }
    for (const SlabSegment& segment : slab.segments()) {
      const auto first = row.begin() + segment.offset;
      checked.push_back({slab.expert(i, segment), {first, first + segment.shape.size()}});
    }
  }
  slab.clear_gradient();
}

}  // namespace detail

/// Compares the tape's gradients with central differences, in double. `forward` must depend on `inputs`, on
/// `slabs` and on nothing else that changes from pass to pass. Every element of every input and expert is
/// checked; an input's number in the result counts the inputs, then each expert's segments. All keep their
/// values and are left without gradients.
inline GradCheckResult grad_check(const Forward& forward, const std::vector<Tensor<double>>& inputs,
                                  GradCheckOptions options = {},
                                  const std::vector<NamedSlab<double>>& slabs = {}) {
  const auto forward_anew = [&](const Context<double>& ctx) {
    for (const auto& [name, slab] : slabs) slab.set_fused(false);
    return forward(ctx);
  };
  GradCheckObjective objective(forward_anew, options);
  for (const auto& input : inputs) input.gradient()->clear();
  for (const auto& [name, slab] : slabs) slab.clear_gradient();
  objective(true);
  std::vector<detail::CheckedValues> checked;
  for (const auto& input : inputs) detail::take_gradient(input, checked);
  for (const auto& [name, slab] : slabs) detail::take_gradient(slab, checked);
  GradCheckResult result;
  for (std::size_t which = 0; which < checked.size(); ++which) {
    std::vector<double> difference;
    for (double& value : checked[which].values) {
      difference.push_back(detail::central_difference(objective, value, options.epsilon));
    }
    detail::compare(which, checked[which].tape, difference, options.tolerance, result);
  }
  for (const auto& [name, slab] : slabs) slab.set_fused(false);
  return result;
}

/// The same for `inputs` followed by every parameter and every expert of `module`.
template <Module M>
GradCheckResult grad_check(const Forward& forward, const M& module, std::vector<Tensor<double>> inputs = {},
                           GradCheckOptions options = {}) {
  const ParameterList<double> list = collect_parameters<double>(module);
  for (const auto& parameter : list.parameters) inputs.push_back(parameter.tensor);
  return grad_check(forward, inputs, options, list.slabs);
}

}  // namespace exfusion::testing
