#pragma once

#include <concepts>
#include <span>

#include <exfusion/core/scalar.hpp>
#include <exfusion/core/shared_state.hpp>

namespace exfusion {

/// State that is saved with a model but not trained by gradients, and that moves on once per optimizer step
/// (a memory bank, for example). A module holds it as `SharedState<Derived>` and names it among its fields.
template <Scalar T>
struct StepState {
  StepState() = default;
  StepState(const StepState&) = default;
  StepState(StepState&&) noexcept = default;
  StepState& operator=(const StepState&) = default;
  StepState& operator=(StepState&&) noexcept = default;
  virtual ~StepState() = default;

  /// Called by the optimizer after each update.
  virtual void end_step() = 0;
  /// Called instead when the step's gradients are thrown away.
  virtual void skip_step() = 0;
  /// The numbers that a checkpoint holds.
  virtual std::span<T> values() = 0;
};

/// A field that holds a `StepState`.
template <class Field, class T>
concept StepStateField = requires(const Field& field) {
  { field.share() } -> std::convertible_to<std::shared_ptr<StepState<T>>>;
};

}  // namespace exfusion
