#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/autograd/step_state.hpp>
#include <exfusion/core/buffer.hpp>
#include <exfusion/core/error.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/kernels/fuse.hpp>
#include <exfusion/kernels/round.hpp>
#include <exfusion/kernels/softmax.hpp>

namespace exfusion {

/// What shares one fusion weight a_i: the whole FFN, each of its matrices with its bias, or each output row.
enum class FusionGranularity { layer, matrix, row };

/// One dense parameter of the FFN inside every expert's row of the slab.
struct SlabSegment {
  std::string name;  ///< Name within the FFN, such as "up.weight".
  Shape shape;
  bool decay = true;  ///< Whether weight decay applies.
  Index offset = 0;   ///< First element within a row; set by ExpertSlab.
};

/// Where the a [groups, E] of the next pass can be read as soon as an optimizer step has changed what it
/// depends on: `values` [groups, E], or the softmax of each of their rows, or the first numbers of `state`.
/// None of them: not known beforehand.
template <Scalar T>
struct NextWeights {
  Tensor<T> values = {};
  bool softmax = false;
  std::shared_ptr<StepState<T>> state = nullptr;
};

/// The E experts of one FFN, stacked in a slab [E, P] (P: all of the FFN's numbers, each segment padded to 64
/// bytes), beside the fused weights W [P] and the one dense gradient G = dL/dW [P]. The experts' own
/// gradients a_i G (arXiv 2603.27965; docs/method.md) never exist: optimizers update all E rows from G and
/// the weights a [groups, E]. Copies deeply, without gradients; `share` gives a second handle onto the same
/// storage.
template <Scalar T>
class ExpertSlab {
 public:
  ExpertSlab() = default;

  /// E uninitialised experts. `constant_weights`: a never changes, so that optimizers keep one state for all
  /// experts (exact, docs/method.md). Throws ConfigError when `experts` is not in [1, 65536].
  ExpertSlab(Index experts, std::vector<SlabSegment> segments, FusionGranularity granularity,
             bool constant_weights)
      : storage_(std::make_shared<Storage>(experts, std::move(segments), granularity, constant_weights)) {}

  ExpertSlab(const ExpertSlab& other)
      : storage_(other.storage_ ? std::make_shared<Storage>(*other.storage_) : nullptr) {}
  ExpertSlab(ExpertSlab&&) noexcept = default;
  ExpertSlab& operator=(ExpertSlab other) noexcept {
    storage_ = std::move(other.storage_);
    return *this;
  }
  ~ExpertSlab() = default;

  /// Another handle onto the same experts, not a copy.
  ExpertSlab share() const {
    ExpertSlab handle;
    handle.storage_ = storage_;
    return handle;
  }

  /// Whether there are experts behind the handle.
  explicit operator bool() const { return storage_ != nullptr; }

  Index experts() const { return storage_->experts; }
  /// P: elements of one row, padding included.
  Index row_size() const { return storage_->row_size; }
  Index groups() const { return storage_->groups; }
  bool constant_weights() const { return storage_->constant_weights; }
  const std::vector<SlabSegment>& segments() const { return storage_->segments; }
  const std::vector<FusionSpan>& spans() const { return storage_->spans; }
  FusionLayout layout() const { return {spans(), experts(), groups(), row_size()}; }

  /// The whole slab [E, P]. Whoever writes to experts calls `set_fused(false)` afterwards.
  T* data() const { return storage_->rows.data(); }
  /// Expert i's row [P].
  std::span<T> expert(Index i) const {
    return storage_->rows.span().subspan(static_cast<std::size_t>(i * row_size()),
                                         static_cast<std::size_t>(row_size()));
  }
  /// Expert i's part of one segment.
  std::span<T> expert(Index i, const SlabSegment& segment) const {
    return expert(i).subspan(static_cast<std::size_t>(segment.offset),
                             static_cast<std::size_t>(segment.shape.size()));
  }

  /// W [P] as the last fuse wrote it.
  T* fused() const { return storage_->fused.data(); }
  /// One segment of W with its part of G: what the FFN computes with.
  Tensor<T> fused(std::size_t segment) const {
    const SlabSegment& place = storage_->segments.at(segment);
    return Tensor<T>(fused() + place.offset, place.shape, &storage_->gradients[segment], storage_,
                     &storage_->rounded[segment]);
  }

  /// Whether a backward pass has reached any segment.
  bool has_gradient() const {
    return std::ranges::any_of(storage_->gradients, [](const auto& g) { return g.defined; });
  }
  /// G [P]; segments that no backward pass has reached are set to zero first.
  T* gradient() const {
    for (auto& segment : storage_->gradients) {
      if (!std::exchange(segment.defined, true)) std::fill_n(segment.data, segment.size, T{0});
    }
    return storage_->gradient.data();
  }
  void clear_gradient() const {
    for (auto& segment : storage_->gradients) segment.clear();
    std::ranges::fill(products(), 0.0);
  }
  /// Inner products [groups, E] of the present G with the experts, as far as the fuse nodes have passed them
  /// on.
  std::span<double> products() const { return storage_->products.span(); }
  /// Room for the reductions over the slab and for one more set of products.
  double* scratch() const { return storage_->scratch.data(); }
  /// A gradient that always counts as reached, for nodes whose output is the whole of W.
  Gradient<T>* reached() const { return &storage_->reached; }

  /// a [groups, E] of the last fuse in training: the factors of G in the experts' gradients.
  std::span<T> weights() const { return storage_->weights.span(); }
  /// a [groups, E] that W was fused with; meaningless unless `is_fused`.
  std::span<T> fused_weights() const { return storage_->fused_weights.span(); }
  /// Whether W still belongs to the experts' present values and `fused_weights`.
  bool is_fused() const { return storage_->is_fused; }
  void set_fused(bool value) const {
    storage_->is_fused = value;
    for (RoundedCopy& copy : storage_->rounded) copy.is_current = false;
  }

  /// Rounds a part of W anew in the copies that have been asked for; then `set_rounded` says that all is.
  void round_fused(const FusionSpan& part) const {
    for (std::size_t i = 0; i < segments().size(); ++i) {
      const Index begin = part.begin - segments()[i].offset;
      if (begin < 0 || begin >= segments()[i].shape.size() || !storage_->rounded[i].is_made()) continue;
      kernels::Round<T>::to_bfloat16_serial(fused() + part.begin, storage_->rounded[i].values.data() + begin,
                                            part.size);
    }
  }
  void set_rounded() const {
    for (RoundedCopy& copy : storage_->rounded) copy.is_current = copy.is_made();
  }

  /// Says where the next pass's a will be found. Only speed depends on its being right: `fuse` compares.
  void set_next_weights(const NextWeights<T>& next) const { storage_->next = next; }
  /// Writes the next pass's a to `fused_weights`, for an optimizer that changes the experts and sums up W in
  /// one pass. Returns false, and writes nothing, where it is not known or W is still in use.
  bool load_next_weights() const {
    const NextWeights<T>& next = storage_->next;
    const std::span<T> to = fused_weights(), from = next.state ? next.state->values() : next.values.values();
    const bool fits = next.state ? from.size() >= to.size() : from.size() == to.size();
    if (uses() > 0 || !fits) return false;
    if (next.softmax) {
      kernels::Softmax<T>::forward(from.data(), groups(), experts(), to.data());
    } else {
      std::ranges::copy(from.first(to.size()), to.begin());
    }
    return true;
  }

  /// Passes on tapes that computed with W and still need it for their backward.
  Index uses() const { return storage_->uses; }
  void begin_use() const { ++storage_->uses; }
  void end_use() const { --storage_->uses; }

 private:
  struct Storage {
    Storage(Index experts_, std::vector<SlabSegment> segments_, FusionGranularity granularity, bool constant)
        : experts(experts_), constant_weights(constant), segments(std::move(segments_)) {
      constexpr Index most = Index{1} << 16;
      if (experts < 1 || experts > most) {
        throw ConfigError("experts", "their number is ", experts, ": it must be between 1 and ", most);
      }
      place_segments();
      make_spans(granularity);
      rows = Buffer<T>::zeros(experts * row_size);
      fused = Buffer<T>::zeros(row_size);
      gradient = Buffer<T>::zeros(row_size);
      weights = Buffer<T>::zeros(groups * experts);
      fused_weights = Buffer<T>::zeros(groups * experts);
      make_products();
      point_gradients();
    }
    Storage(const Storage& other)
        : experts(other.experts),
          row_size(other.row_size),
          groups(other.groups),
          constant_weights(other.constant_weights),
          is_fused(other.is_fused),
          segments(other.segments),
          spans(other.spans),
          rows(other.rows),
          fused(other.fused),
          gradient(Buffer<T>::zeros(other.row_size)),
          weights(other.weights),
          fused_weights(other.fused_weights) {
      make_products();
      point_gradients();
    }
    Storage& operator=(const Storage&) = delete;

    void place_segments() {
      constexpr Index line = storage_alignment / sizeof(T);
      for (SlabSegment& segment : segments) {
        segment.offset = row_size;
        row_size += (segment.shape.size() + line - 1) / line * line;
      }
    }

    // Segments named alike up to the last dot (a matrix and its bias) share groups. Long runs are cut so that
    // the spans are also the units of parallel work.
    void make_spans(FusionGranularity granularity) {
      constexpr Index longest = 8192;
      std::map<std::string, Index> first_group;
      for (const SlabSegment& segment : segments) {
        const bool by_row = granularity == FusionGranularity::row;
        const Index rows_here = by_row ? segment.shape[0] : 1;
        const std::string owner = granularity == FusionGranularity::layer
                                      ? std::string{}
                                      : segment.name.substr(0, segment.name.rfind('.'));
        const auto [place, is_new] = first_group.try_emplace(owner, groups);
        if (is_new) groups += rows_here;
        const Index row_length = segment.shape.size() / std::max<Index>(rows_here, 1);
        for (Index row = 0; row < rows_here; ++row) {
          for (Index done = 0; done < row_length; done += longest) {
            spans.push_back({segment.offset + row * row_length + done, std::min(longest, row_length - done),
                             place->second + row, segment.decay});
          }
        }
      }
    }

    void make_products() {
      products = Buffer<double>::zeros(groups * experts);
      scratch = Buffer<double>((static_cast<Index>(spans.size()) + groups) * experts);
    }

    void point_gradients() {
      for (const SlabSegment& segment : segments) {
        gradients.push_back({gradient.data() + segment.offset, segment.shape.size()});
      }
      rounded.resize(segments.size());
    }

    Index experts;
    Index row_size = 0;
    Index groups = 0;
    bool constant_weights;
    bool is_fused = false;
    std::vector<SlabSegment> segments;
    std::vector<FusionSpan> spans;
    Buffer<T> rows;
    Buffer<T> fused;
    Buffer<T> gradient;
    Buffer<T> weights;
    Buffer<T> fused_weights;
    Buffer<double> products;
    Buffer<double> scratch;
    Gradient<T> reached{nullptr, 0, true};
    Index uses = 0;
    NextWeights<T> next;  // not copied: it belongs to the rule beside this slab
    std::vector<Gradient<T>> gradients;
    std::vector<RoundedCopy> rounded;  ///< Of W's segments.
  };

  std::shared_ptr<Storage> storage_;
};

}  // namespace exfusion
