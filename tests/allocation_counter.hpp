#pragma once

// Counts heap allocations of the whole program. Include it in one source file of a test only: it replaces the
// global operator new.

#include <atomic>
#include <cstdlib>
#include <new>

namespace exfusion::testing {

inline std::atomic<long> allocation_count{0};
/// Over-aligned blocks in use: one for each Buffer that is not empty.
inline std::atomic<long> live_aligned_blocks{0};

inline void* counted_allocation(std::size_t size, std::size_t alignment) {
  ++allocation_count;
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded)) return memory;
  throw std::bad_alloc();
}

inline void free_aligned(void* memory) {
  if (memory != nullptr) --live_aligned_blocks;
  std::free(memory);
}

}  // namespace exfusion::testing

void* operator new(std::size_t size) {
  return exfusion::testing::counted_allocation(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  void* memory = exfusion::testing::counted_allocation(size, static_cast<std::size_t>(alignment));
  ++exfusion::testing::live_aligned_blocks;
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { exfusion::testing::free_aligned(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  exfusion::testing::free_aligned(memory);
}
