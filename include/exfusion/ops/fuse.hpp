#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include <exfusion/autograd/context.hpp>
#include <exfusion/autograd/expert_slab.hpp>
#include <exfusion/kernels/fuse.hpp>

namespace exfusion {

/// What `fuse` hands back as the gradient of its weights. `exact`: <G, W_i>. `relative`: <G, W_i - W_1>,
/// for weights that sum to one in each group by construction (a softmax): it differs by one number per group,
/// which such a construction removes, and rounding noise of equal experts does not reach the optimizer.
enum class FusionGradient { exact, relative };

namespace detail {

template <Scalar T>
void check_fusion_weights(const ExpertSlab<T>& slab, const Tensor<T>& a) {
  const Shape expected{slab.groups(), slab.experts()};
  if (a.shape() != expected) {
    throw ShapeError("fuse", "the fusion weights are ", a.shape(), ": they must be [groups, E] = ", expected);
  }
  for (Index i = 0; i < a.size(); ++i) {
    if (std::isfinite(a.data()[i])) continue;
    throw NotFiniteError("fuse", "fusion weight a[", i / slab.experts(), ", ", i % slab.experts(), "] is ",
                         a.data()[i], ": it must be finite");
  }
}

template <Scalar T>
bool equal_weights(const Tensor<T>& a, std::span<const T> weights) {
  return std::ranges::equal(a.values(), weights);
}

/// W holds gradients, or is still needed for some, of passes that fused with other weights than a.
template <Scalar T>
bool is_taken(const ExpertSlab<T>& slab, const Tensor<T>& a) {
  if (slab.has_gradient() && !equal_weights<T>(a, slab.weights())) return true;
  return slab.uses() > 0 && slab.is_fused() && !equal_weights<T>(a, slab.fused_weights());
}

template <Scalar T>
void update_fused(const ExpertSlab<T>& slab, const Tensor<T>& a) {
  if (slab.is_fused() && equal_weights<T>(a, slab.fused_weights())) return;
  kernels::Fuse<T>::forward(slab.layout(), slab.data(), a.data(), slab.fused());
  std::ranges::copy(a.values(), slab.fused_weights().begin());
  slab.set_fused(true);
}

}  // namespace detail

namespace ops {

/// A pass on a tape that computes with a slab's W, until its backward pass is over or the tape is cleared.
template <Scalar T>
class FusedUse {
 public:
  explicit FusedUse(const ExpertSlab<T>& slab) : slab_(slab.share()) { slab_.begin_use(); }
  FusedUse(FusedUse&&) noexcept = default;
  FusedUse(const FusedUse&) = delete;
  FusedUse& operator=(const FusedUse&) = delete;
  ~FusedUse() {
    if (slab_) end();
  }

  void end() const {
    if (!std::exchange(over_, true)) slab_.end_use();
  }
  const ExpertSlab<T>& slab() const { return slab_; }

 private:
  ExpertSlab<T> slab_;
  mutable bool over_ = false;
};

template <Scalar T>
struct FuseNode {
  static constexpr std::string_view name = "fuse";
  FusedUse<T> use;
  Tensor<T> a;
  FusionGradient form;

  // G accumulates over micro-batches in the slab: what this pass adds to a's gradient is the products of the
  // present G without those that earlier nodes have passed on. Whatever computed with W comes later on the
  // tape, and has had its backward by now.
  void backward() const {
    const ExpertSlab<T>& slab = use.slab();
    use.end();
    if (!a.requires_grad() || !slab.has_gradient()) return;
    const FusionLayout layout = slab.layout();
    double* fresh = slab.scratch() + layout.scratch_size();
    const T* origin = form == FusionGradient::relative ? slab.data() : nullptr;  // the first row, read anyway
    kernels::Fuse<T>::inner_products(layout, slab.data(), origin, slab.gradient(), slab.scratch(), fresh);
    const GradientTarget<T> da = a.open_gradient();
    double* passed_on = slab.products().data();
    for (Index i = 0; i < a.size(); ++i) {
      const T value = static_cast<T>(fresh[i] - passed_on[i]);
      da.data[i] = da.accumulate ? da.data[i] + value : value;
      passed_on[i] = fresh[i];
    }
  }
};

/// W = sum_i a[g, i] W_i (arXiv 2603.27965; docs/method.md): the experts of a slab and a [groups, E] to W
/// [P], of which the segments are views. Done only when the experts or a have changed since the last time.
///
/// With a tape, W is the slab's own, its gradient G collects in the slab over backward passes, and a receives
/// the gradient that `form` says. All passes of one optimizer step must then use the same a. Without a tape
/// W is the slab's own too, or memory of its own while the slab's still serves other passes.
/// Throws ShapeError when a is not [groups, E], NotFiniteError when a weight is not finite, ConfigError when
/// a differs from that of an earlier pass whose gradients are not yet used.
template <Scalar T>
Tensor<T> fuse(const Context<T>& ctx, const ExpertSlab<T>& slab, const Tensor<T>& a,
               FusionGradient form = FusionGradient::exact) {
  exfusion::detail::check_fusion_weights(slab, a);
  const bool taken = exfusion::detail::is_taken(slab, a);
  if (ctx.tape == nullptr && taken) {
    const Tensor<T> fused = Tensor<T>::zeros({slab.row_size()});
    kernels::Fuse<T>::forward(slab.layout(), slab.data(), a.data(), fused.data());
    return fused;
  }
  if (taken) {
    throw ConfigError("fuse",
                      "the fusion weights differ from those of an earlier pass in the same step: with "
                      "gradient accumulation choose the memory bank's value straight_through");
  }
  exfusion::detail::update_fused(slab, a);
  if (ctx.tape == nullptr) return Tensor<T>(slab.fused(), {slab.row_size()});
  std::ranges::copy(a.values(), slab.weights().begin());
  const Tensor<T> fused(slab.fused(), {slab.row_size()}, slab.reached());
  ctx.record(fused, FuseNode<T>{FusedUse<T>(slab), a, form});
  return fused;
}

}  // namespace ops
}  // namespace exfusion
