#pragma once

#include <algorithm>
#include <concepts>
#include <utility>

#include <exfusion/autograd/context.hpp>
#include <exfusion/kernels/add.hpp>

namespace exfusion::ops {

template <Scalar T, class Function>
struct RecomputeNode {
  static constexpr std::string_view name = "recompute";
  Function function;  ///< A reference, for a function that has a name.
  Context<T> ctx;     ///< Of the first time.
  Rng::State random;  ///< Of its generator, before the first time.
  Tensor<T> x, y;
  std::size_t first_term, terms;  ///< The function's own among the terms added to `ctx.tape`.

  void backward() const {
    Tape<T>& inner = ctx.tape->nested();
    inner.clear();
    const Tensor<T> again = run(inner);
    if (y.requires_grad() && y.gradient()->defined) {
      kernels::Add<T>::backward(y.grad().data(), again.open_gradient(), y.size());
      y.gradient()->clear();
    }
    for (std::size_t i = 0; i < terms; ++i) pass_on(ctx.tape->added_terms()[first_term + i], inner, i);
    inner.propagate();
    inner.clear();
  }

 private:
  Tensor<T> run(Tape<T>& inner) const {
    Rng rng(random);
    Context<T> replayed = ctx;
    replayed.tape = &inner;
    replayed.rng = ctx.rng == nullptr ? nullptr : &rng;
    replayed.recompute = false;
    replayed.replay = true;
    return function(replayed, x);
  }

  static void pass_on(const Tensor<T>& term, const Tape<T>& inner, std::size_t i) {
    if (!term.requires_grad() || !term.gradient()->defined) return;
    kernels::Add<T>::backward(term.grad().data(), inner.added_terms()[i].open_gradient(), 1);
    term.gradient()->clear();
  }
};

/// function(ctx, x) without what its backward pass needs: of all that it computes only the result stays (a
/// copy), and the backward pass computes it again from x, which the tape keeps (gradient checkpointing; Chen
/// et al., arXiv 1604.06174). Both times on the tape's nested tape, whose memory serves one call after the
/// other. Gradients are the same bits as without: random numbers are drawn again from the same state, losses
/// that the function adds to the tape count once, and `Context::replay` tells the second time.
///
/// x of any shape to y of the function's shape. Without a tape it is the function alone. A function that has
/// a name is referred to, any other is moved to the tape; what is referred to must stay as it is until the
/// backward pass. Throws as the function does.
template <Scalar T, std::invocable<const Context<T>&, const Tensor<T>&> Function>
Tensor<T> recompute(const Context<T>& ctx, const Tensor<T>& x, Function&& function) {
  Context<T> inside = ctx;
  inside.recompute = false;
  if (ctx.tape == nullptr) return function(inside, x);
  const Rng::State random = ctx.rng == nullptr ? Rng::State{} : ctx.rng->state();
  Tape<T>& inner = ctx.tape->nested();
  inner.clear();
  inside.tape = &inner;
  const Tensor<T> result = function(inside, x);

  const Tensor<T> y = ctx.output(result.shape(), result);
  std::ranges::copy(result.values(), y.data());
  const std::size_t first_term = ctx.tape->added_terms().size(), terms = inner.added_terms().size();
  for (const Tensor<T>& term : inner.added_terms()) {
    const Tensor<T> outer = ctx.output(term.shape(), term);
    *outer.data() = term.item();
    ctx.tape->add_loss(outer);
  }
  inner.clear();
  if (!y.requires_grad() && terms == 0) return y;
  // An output that always counts as used: a term may need the node where y does not.
  const Tensor<T> always = ctx.tape->allocate(Shape{}, true);
  always.gradient()->defined = true;
  ctx.tape->record(always, RecomputeNode<T, Function>{std::forward<Function>(function), ctx, random, x, y,
                                                      first_term, terms});
  return y;
}

}  // namespace exfusion::ops
