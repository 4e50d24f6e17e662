#pragma once

#include <concepts>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/arena.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/tensor.hpp>

namespace exfusion {

/// What an operation leaves on the tape: its name, and a struct of exactly what its backward pass needs.
template <class Node>
concept TapeNode = requires(const Node& node) {
  { Node::name } -> std::convertible_to<std::string_view>;
  node.backward();
};

/// The operations of one forward pass in execution order. `backward` runs them in reverse; there is no graph
/// to sort. Nodes, activations and their gradients live in the tape's arena, so that a step that repeats an
/// earlier one allocates nothing. One tape serves one thread of control.
template <Scalar T>
class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  Arena& arena() { return arena_; }
  std::size_t size() const { return entries_.size(); }
  std::string_view name(std::size_t node) const { return entries_.at(node).name; }

  /// A new activation of uninitialised values in the arena.
  Tensor<T> allocate(Shape shape, bool requires_grad) {
    Gradient<T>* gradient = nullptr;
    if (requires_grad) {
      gradient =
          new (arena_.allocate(sizeof(Gradient<T>))) Gradient<T>{nullptr, shape.size(), false, &arena_};
    }
    return Tensor<T>(arena_.allocate_array<T>(shape.size()), shape, gradient);
  }

  /// Gives an activation's memory back for the activations to come. Its gradient stays.
  void release(const Tensor<T>& activation) {
    arena_.release(activation.data(), static_cast<std::size_t>(activation.size()) * sizeof(T));
  }

  /// Appends the operation that made `output`. Its `backward` runs once `output`'s gradient is complete, and
  /// not at all when nothing depends on `output`.
  template <TapeNode Node>
  void record(const Tensor<T>& output, Node node) {
    static_assert(alignof(Node) <= storage_alignment);
    auto* saved = new (arena_.allocate(sizeof(Node))) Node(std::move(node));
    entries_.push_back({Node::name, saved, output.gradient(),
                        [](void* self) { static_cast<const Node*>(self)->backward(); },
                        [](void* self) { static_cast<Node*>(self)->~Node(); }});
  }

  /// Adds a scalar to the objective: `backward(loss)` differentiates loss + all added terms. A layer uses
  /// this for a loss of its own (load balancing, for example). Throws ShapeError when it is not a single
  /// number.
  void add_loss(const Tensor<T>& term) {
    if (term.size() != 1) throw ShapeError("add_loss", term.shape(), " is not a single number");
    terms_.push_back(term);
  }

  /// The terms added since the last `clear`, in order.
  std::span<const Tensor<T>> added_terms() const { return terms_; }

  /// Sum of the added terms' values.
  T added_loss() const {
    T sum = 0;
    for (const auto& term : terms_) sum += term.item();
    return sum;
  }

  /// Writes (or adds to) the gradient of `scale * (loss + added terms)` of every tensor that requires one.
  /// `scale` is 1 / micro-batches under gradient accumulation. Activations' gradients are given back to the
  /// arena on the way. Throws ShapeError when `loss` is not one number, Error when it was not recorded here
  /// or when backward ran already: each forward pass serves one backward pass.
  void backward(const Tensor<T>& loss, T scale = T{1}) {
    if (loss.size() != 1)
      throw ShapeError("backward", "the loss has shape ", loss.shape(), ", not one number");
    if (!loss.requires_grad())
      throw Error("backward", "the loss was computed without a tape, or of constants");
    if (loss.gradient()->arena != &arena_) throw Error("backward", "the loss was not recorded on this tape");
    if (std::exchange(finished_, true))
      throw Error("backward", "ran already: call clear() and go forward again");
    seed(loss, scale);
    for (const auto& term : terms_) seed(term, scale);
    propagate();
  }

  /// Runs the operations in reverse from whatever gradients have been written to their outputs. For
  /// operations that keep a tape of their own; `backward` is this after it has seeded the objective.
  void propagate() {
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      if (entry->output == nullptr || !entry->output->defined) continue;
      entry->backward(entry->node);
      if (entry->output->arena != nullptr) entry->output->clear();
    }
  }

  /// A tape for parts of the pass that are computed again in the backward pass. It is made at first use and
  /// keeps its memory as this one does.
  Tape& nested() {
    if (nested_ == nullptr) nested_ = std::make_unique<Tape>();
    return *nested_;
  }

  /// The most bytes that one pass took from this tape's arena and the nested tapes'.
  std::size_t peak_bytes() const {
    return arena_.peak_bytes() + (nested_ == nullptr ? 0 : nested_->peak_bytes());
  }

  /// Forgets the pass. Every activation handed out becomes invalid; the memory stays for the next step.
  void clear() {
    if (nested_ != nullptr) nested_->clear();
    for (auto& entry : entries_) entry.destroy(entry.node);
    entries_.clear();
    terms_.clear();
    arena_.reset();
    finished_ = false;
  }

 private:
  struct Entry {
    std::string_view name;
    void* node;
    Gradient<T>* output;
    void (*backward)(void*);
    void (*destroy)(void*);
  };

  static void seed(const Tensor<T>& loss, T scale) {
    const GradientTarget<T> target = loss.open_gradient();
    if (target.data != nullptr) *target.data = target.accumulate ? *target.data + scale : scale;
  }

  Arena arena_;
  std::vector<Entry> entries_;
  std::vector<Tensor<T>> terms_;
  bool finished_ = false;
  std::unique_ptr<Tape> nested_;
};

}  // namespace exfusion
