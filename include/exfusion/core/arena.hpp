#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <unordered_map>
#include <vector>

#include <exfusion/core/buffer.hpp>

namespace exfusion {

/// Memory of one training step. `allocate` hands out 64-byte-aligned blocks from large chunks, `release`
/// keeps a block for the next request of the same size, `reset` takes everything back and keeps the chunks.
/// A step that repeats an earlier one therefore allocates nothing from the heap. Not thread-safe.
class Arena {
 public:
  /// `bytes` of uninitialised memory, valid until `reset`. Throws std::bad_alloc.
  void* allocate(std::size_t bytes) {
    const std::size_t rounded = round_up(bytes);
    if (auto blocks = free_.find(rounded); blocks != free_.end() && !blocks->second.empty()) {
      void* block = blocks->second.back();
      blocks->second.pop_back();
      return block;
    }
    while (chunk_ < chunks_.size() && used_ + rounded > capacity(chunk_)) advance();
    if (chunk_ == chunks_.size()) chunks_.emplace_back(next_chunk_size(rounded));
    void* block = chunks_[chunk_].data() + used_;
    used_ += rounded;
    taken_ += rounded;
    peak_ = std::max(peak_, taken_);
    return block;
  }

  /// Typed form of `allocate`: room for `count` values of `T`.
  template <class T>
  T* allocate_array(Index count) {
    return static_cast<T*>(allocate(static_cast<std::size_t>(count) * sizeof(T)));
  }

  /// Gives one block of `allocate(bytes)` back for reuse within the step.
  void release(void* block, std::size_t bytes) { free_[round_up(bytes)].push_back(block); }

  /// Takes every block back. All pointers handed out before become invalid.
  void reset() {
    for (auto& [size, blocks] : free_) blocks.clear();
    chunk_ = 0;
    used_ = 0;
    taken_ = 0;
  }

  /// The most bytes of distinct blocks that were handed out between two resets: what a step needs. A block
  /// that was released and handed out again counts once.
  std::size_t peak_bytes() const { return peak_; }

  /// Bytes reserved from the heap.
  std::size_t reserved_bytes() const {
    std::size_t bytes = 0;
    for (const auto& chunk : chunks_) bytes += static_cast<std::size_t>(chunk.size());
    return bytes;
  }

 private:
  static std::size_t round_up(std::size_t bytes) {
    if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
    return (std::max<std::size_t>(bytes, 1) + storage_alignment - 1) / storage_alignment * storage_alignment;
  }

  std::size_t capacity(std::size_t chunk) const { return static_cast<std::size_t>(chunks_[chunk].size()); }

  void advance() {
    ++chunk_;
    used_ = 0;
  }

  // Each chunk is as large as all before it, so their number stays logarithmic; untouched pages cost nothing.
  Index next_chunk_size(std::size_t bytes) const {
    constexpr std::size_t smallest = std::size_t{1} << 20;
    return static_cast<Index>(std::max({bytes, smallest, reserved_bytes()}));
  }

  std::vector<Buffer<std::byte>> chunks_;
  std::size_t chunk_ = 0;
  std::size_t used_ = 0;
  std::size_t taken_ = 0;
  std::size_t peak_ = 0;
  std::unordered_map<std::size_t, std::vector<void*>> free_;
};

/// An uninitialised array that goes back to its arena with this object; without an arena it has memory of its
/// own.
template <class T>
class TemporaryArray {
 public:
  /// No array when `count` is 0. Throws std::bad_alloc.
  TemporaryArray(Arena* arena, Index count) : arena_(count == 0 ? nullptr : arena), count_(count) {
    if (arena_ == nullptr) {
      own_ = Buffer<T>(count);
      data_ = own_.data();
    } else {
      data_ = arena->allocate_array<T>(count);
    }
  }
  TemporaryArray(const TemporaryArray&) = delete;
  TemporaryArray& operator=(const TemporaryArray&) = delete;
  ~TemporaryArray() {
    if (arena_ != nullptr) arena_->release(data_, static_cast<std::size_t>(count_) * sizeof(T));
  }

  T* data() const { return data_; }

 private:
  Arena* arena_ = nullptr;
  Index count_ = 0;
  T* data_ = nullptr;
  Buffer<T> own_;
};

}  // namespace exfusion
