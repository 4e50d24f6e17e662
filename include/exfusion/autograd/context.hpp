#pragma once

#include <string_view>
#include <utility>

#include <exfusion/autograd/tape.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// Everything a forward pass needs besides its inputs; passed explicitly, there is no global state.
template <Scalar T>
struct Context {
  /// Records the operations for `Tape::backward`; null for inference, where results own their memory.
  Tape<T>* tape = nullptr;
  /// Source of dropout masks; needed only when `training` and something is random.
  Rng* rng = nullptr;
  /// Whether dropout is active and fusion rules use their training weights.
  bool training = false;
  /// Whether Transformer blocks save nothing but their input and are computed again in the backward pass
  /// (`ops::recompute`).
  bool recompute = false;
  /// Set while something is computed again: what takes note of each pass must not take note of this one.
  bool replay = false;

  /// An uninitialised result of an operation: in the tape's arena, or with memory of its own. It has a
  /// gradient when there is a tape and one of the operation's inputs has one.
  template <class... Inputs>
  Tensor<T> output(Shape shape, const Inputs&... inputs) const {
    if (tape == nullptr) return Tensor<T>::empty(shape);
    return tape->allocate(shape, (inputs.requires_grad() || ...));
  }

  /// Uninitialised numbers saved for the backward pass.
  Tensor<T> saved(Shape shape) const {
    return tape == nullptr ? Tensor<T>::empty(shape) : tape->allocate(shape, false);
  }

  /// Records the operation behind `output` if its gradient is wanted.
  template <TapeNode Node>
  void record(const Tensor<T>& output, Node node) const {
    if (output.requires_grad()) tape->record(output, std::move(node));
  }

  /// The generator for `operation`. Throws ConfigError when the context has none.
  Rng& random(std::string_view operation) const {
    if (rng == nullptr) throw ConfigError(operation, "is random in training: set Context::rng");
    return *rng;
  }
};

}  // namespace exfusion
