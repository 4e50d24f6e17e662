#pragma once

#include <string_view>
#include <utility>

#include <exfusion/autograd/rounded.hpp>
#include <exfusion/autograd/tape.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// How matrix products are computed: with all digits of the scalar type, or (mixed precision, Micikevicius et
/// al., arXiv 1710.03740) with factors rounded to bfloat16 and sums in the scalar type. Weights, their
/// gradients, optimizer state, normalisations, softmax and losses keep all digits in both.
enum class Precision { fp32, bf16 };

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
  /// Of the products of linear operations and of self-attention.
  Precision precision = Precision::fp32;
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

  /// The same but for the precision.
  Context with_precision(Precision other) const {
    Context result = *this;
    result.precision = other;
    return result;
  }

  /// What a matrix product reads of x besides its numbers: nothing, or in bf16 a rounded copy. It lives in
  /// the tape's arena; a weight's is the weight's own and rounded once for all passes until the weight
  /// changes, so threads that share a model in bf16 may do so after a first pass of one of them.
  Rounded rounded(const Tensor<T>& x) const {
    if (precision == Precision::fp32) return {};
    return round(x, tape == nullptr ? nullptr : &tape->arena());
  }

  /// Gives back the memory of an operation's result whose numbers nobody reads again, no backward pass
  /// either. Without a tape the last handle does so.
  void release(const Tensor<T>& result) const {
    if (tape != nullptr) tape->release(result);
  }

  /// The same if in the backward pass only a rounded copy is read: linear operations keep one in bf16.
  void release_rounded(const Tensor<T>& result) const {
    if (precision == Precision::bf16) release(result);
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
