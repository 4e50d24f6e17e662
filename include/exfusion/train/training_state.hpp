#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/rng.hpp>
#include <exfusion/data/shuffle.hpp>
#include <exfusion/io/checkpoint.hpp>
#include <exfusion/io/json.hpp>
#include <exfusion/nn/fusion_diagnostics.hpp>
#include <exfusion/optim/adamw.hpp>
#include <exfusion/optim/ema.hpp>

namespace exfusion::train {

/// Where a run stands, apart from its arrays: all that it needs to go on as if it had never stopped.
struct RunCursor {
  Index step = 0;  ///< Steps done, those skipped included.
  Rng::State rng;
  data::LoaderState data;
  double loss_sum = 0;  ///< Of the good steps since the last row of metrics.
  Index loss_steps = 0;
  double validation_loss = 0;  ///< Of the last evaluation; meaningful once there was one.
  double best_loss = 0;        ///< The smallest validation loss, meaningful likewise.
  Index best_step = 0;         ///< After which it was measured; 0: none was.
  Index evaluations_since_best = 0;
  Index measured_step = 0;     ///< After which the experts were last measured.
  Index bad_steps = 0;         ///< Steps skipped in all.
  Index bad_steps_in_row = 0;  ///< Up to now.
  double lr_scale = 1;         ///< Multiplies the schedule's learning rate.
  bool reloaded = false;       ///< Whether bad steps have sent the run back to a checkpoint before.
  double seconds = 0;          ///< Spent training, over all sessions.

  bool operator==(const RunCursor&) const = default;
};

/// `cursor` as JSON, and back. `from_json` throws FormatError naming `file` when something is missing or of
/// another type.
inline nlohmann::json to_json(const RunCursor& cursor) {
  return {{"step", cursor.step},
          {"rng", {cursor.rng.key, cursor.rng.counter}},
          {"data", {cursor.data.seed, cursor.data.items, cursor.data.epoch, cursor.data.position}},
          {"loss_sum", cursor.loss_sum},
          {"loss_steps", cursor.loss_steps},
          {"validation_loss", cursor.validation_loss},  // NaN becomes null
          {"best_loss", cursor.best_loss},
          {"best_step", cursor.best_step},
          {"evaluations_since_best", cursor.evaluations_since_best},
          {"measured_step", cursor.measured_step},
          {"bad_steps", cursor.bad_steps},
          {"bad_steps_in_row", cursor.bad_steps_in_row},
          {"lr_scale", cursor.lr_scale},
          {"reloaded", cursor.reloaded},
          {"seconds", cursor.seconds}};
}

inline RunCursor cursor_from_json(const nlohmann::json& json, const std::string& file) try {
  const auto read = [&]<class Value>(const nlohmann::json& value, Value& target) {
    if constexpr (std::integral<Value> && !std::same_as<Value, bool>) {
      if (!io::holds_integer<Value>(value))
        throw FormatError(file, "the run's state has ", value.dump(), " where an integer is needed");
    }
    value.get_to(target);
  };
  RunCursor cursor;
  read(json.at("step"), cursor.step);
  read(json.at("rng").at(0), cursor.rng.key);
  read(json.at("rng").at(1), cursor.rng.counter);
  read(json.at("data").at(0), cursor.data.seed);
  read(json.at("data").at(1), cursor.data.items);
  read(json.at("data").at(2), cursor.data.epoch);
  read(json.at("data").at(3), cursor.data.position);
  read(json.at("loss_sum"), cursor.loss_sum);
  read(json.at("loss_steps"), cursor.loss_steps);
  const auto& loss = json.at("validation_loss");
  if (loss.is_null()) cursor.validation_loss = std::numeric_limits<double>::quiet_NaN();
  if (!loss.is_null()) read(loss, cursor.validation_loss);
  read(json.at("best_loss"), cursor.best_loss);
  read(json.at("best_step"), cursor.best_step);
  read(json.at("evaluations_since_best"), cursor.evaluations_since_best);
  read(json.at("measured_step"), cursor.measured_step);
  read(json.at("bad_steps"), cursor.bad_steps);
  read(json.at("bad_steps_in_row"), cursor.bad_steps_in_row);
  read(json.at("lr_scale"), cursor.lr_scale);
  read(json.at("reloaded"), cursor.reloaded);
  read(json.at("seconds"), cursor.seconds);
  return cursor;
} catch (const nlohmann::json::exception& error) {
  throw FormatError(file, "the run's state is incomplete: ", error.what());
}

namespace detail {

inline io::CheckpointArray array_of(std::string name, std::span<float> values) {
  return {std::move(name), io::Dtype::F32, {std::ssize(values)}, std::as_writable_bytes(values)};
}
inline io::CheckpointArray array_of(std::string name, std::span<double> values) {
  return {std::move(name), io::Dtype::F64, {std::ssize(values)}, std::as_writable_bytes(values)};
}
inline io::CheckpointArray array_of(std::string name, std::span<std::int64_t> values) {
  return {std::move(name), io::Dtype::I64, {std::ssize(values)}, std::as_writable_bytes(values)};
}
/// The bits of two moments in bfloat16 in each word (kernels::Bf16Moments).
inline io::CheckpointArray array_of(std::string name, std::span<std::uint32_t> words) {
  return {std::move(name), io::Dtype::BF16, {std::ssize(words), 2}, std::as_writable_bytes(words)};
}

}  // namespace detail

/// The arrays of a model: parameters and states by their names, experts [E, P], each name after "model.".
template <Scalar T>
std::vector<io::CheckpointArray> model_arrays(const ParameterList<T>& list) {
  std::vector<io::CheckpointArray> arrays;
  for (const auto& parameter : list.parameters) {
    arrays.push_back(detail::array_of("model." + parameter.name, parameter.tensor.values()));
    const Shape& shape = parameter.tensor.shape();
    arrays.back().shape.clear();
    for (int axis = 0; axis < shape.rank(); ++axis) arrays.back().shape.push_back(shape[axis]);
  }
  for (const auto& [name, slab] : list.slabs) {
    const auto size = static_cast<std::size_t>(slab.experts() * slab.row_size());
    arrays.push_back(detail::array_of("model." + name, std::span(slab.data(), size)));
    arrays.back().shape = {slab.experts(), slab.row_size()};
  }
  for (const auto& [name, state] : list.states)
    arrays.push_back(detail::array_of("model." + name, state->values()));
  return arrays;
}

/// What a model's copies and fused weights must be told once its arrays have been overwritten.
template <Scalar T>
void mark_changed(const ParameterList<T>& list) {
  for (const auto& parameter : list.parameters) parameter.tensor.set_changed();
  for (const auto& [name, slab] : list.slabs) slab.set_fused(false);
}

/// All arrays of a run: the model's, the optimizer's after "optimizer.", the average's after "average.", the
/// last measurement of the experts after "measured.". `average` may be null.
template <Scalar T>
std::vector<io::CheckpointArray> run_arrays(AdamW<T>& optimizer, Ema<T>* average, FusionMonitor<T>& monitor) {
  auto arrays = model_arrays(optimizer.parameters());
  const auto adder = [&arrays](const char* prefix) {
    return [&arrays, prefix](const std::string& name, auto values) {
      arrays.push_back(detail::array_of(prefix + name, values));
    };
  };
  optimizer.visit_state(adder("optimizer."));
  if (average != nullptr) average->visit_state(adder("average."));
  monitor.visit_state(adder("measured."));
  return arrays;
}

}  // namespace exfusion::train
