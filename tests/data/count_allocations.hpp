#pragma once

// Counts every heap allocation of the program through operator new. Include it in one source file only.

#include <atomic>
#include <cstdlib>
#include <new>

namespace exfusion {

inline std::atomic<long> allocation_count{0};

/// Allocations since the program began.
inline long allocations() { return allocation_count; }

inline void* count_and_allocate(std::size_t bytes, std::size_t alignment) {
  ++allocation_count;
  void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment + alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

}  // namespace exfusion

void* operator new(std::size_t bytes) {
  return exfusion::count_and_allocate(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return exfusion::count_and_allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
