#pragma once

// Counts heap allocations of the whole program and their bytes. Include it in one source file of a test only:
// it replaces the global operator new.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace exfusion::testing {

inline std::atomic<long> allocation_count{0};
/// Over-aligned blocks in use: one for each Buffer that is not empty.
inline std::atomic<long> live_aligned_blocks{0};

/// Bytes in use, as they were asked for.
inline std::atomic<std::ptrdiff_t> live_bytes{0};
/// Bytes of the largest block that was asked for; whoever watches it sets it to 0 first.
inline std::atomic<std::size_t> largest_block{0};

// Each block stands behind a margin of its own alignment, at the end of which its size is kept.
inline std::size_t margin_of(std::size_t alignment) { return std::max(alignment, alignof(std::max_align_t)); }
inline std::size_t& size_of(void* memory) { return static_cast<std::size_t*>(memory)[-1]; }

inline void* counted_allocation(std::size_t size, std::size_t alignment) {
  const std::size_t margin = margin_of(alignment);
  void* block = std::aligned_alloc(margin, (size + margin - 1) / margin * margin + margin);
  if (block == nullptr) throw std::bad_alloc();
  ++allocation_count;
  for (std::size_t seen = largest_block; size > seen && !largest_block.compare_exchange_weak(seen, size);) {
  }
  live_bytes += static_cast<std::ptrdiff_t>(size);
  void* memory = static_cast<std::byte*>(block) + margin;
  size_of(memory) = size;
  return memory;
}

inline void counted_free(void* memory, std::size_t alignment) {
  if (memory == nullptr) return;
  live_bytes -= static_cast<std::ptrdiff_t>(size_of(memory));
  std::free(static_cast<std::byte*>(memory) - margin_of(alignment));
}

inline void free_aligned(void* memory, std::align_val_t alignment) {
  if (memory != nullptr) --live_aligned_blocks;
  counted_free(memory, static_cast<std::size_t>(alignment));
}

}  // namespace exfusion::testing

// Clang's thread sanitizer brings its own, and then nothing is counted.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EXFUSION_ALLOCATIONS_ARE_NOT_COUNTED
#endif
#endif
#ifndef EXFUSION_ALLOCATIONS_ARE_NOT_COUNTED
void* operator new(std::size_t size) {
  return exfusion::testing::counted_allocation(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  void* memory = exfusion::testing::counted_allocation(size, static_cast<std::size_t>(alignment));
  ++exfusion::testing::live_aligned_blocks;
  return memory;
}
void operator delete(void* memory) noexcept {
  exfusion::testing::counted_free(memory, alignof(std::max_align_t));
}
void operator delete(void* memory, std::size_t) noexcept {
  exfusion::testing::counted_free(memory, alignof(std::max_align_t));
}
void operator delete(void* memory, std::align_val_t alignment) noexcept {
  exfusion::testing::free_aligned(memory, alignment);
}
void operator delete(void* memory, std::size_t, std::align_val_t alignment) noexcept {
  exfusion::testing::free_aligned(memory, alignment);
}
#endif
