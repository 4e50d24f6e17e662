#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <exfusion/core/parallel.hpp>
#include <exfusion/core/scalar.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace exfusion {

/// Alignment of all numeric storage, in bytes: one cache line, one AVX-512 vector.
inline constexpr std::size_t storage_alignment = 64;

namespace detail {

/// Storage of at least two huge pages begins on one.
constexpr std::align_val_t alignment_of(std::size_t bytes) {
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  return std::align_val_t{bytes < 2 * huge_page ? storage_alignment : huge_page};
}

/// Memory for numbers. Large blocks ask Linux for huge pages: a pass over many rows at once otherwise waits
/// for the translation of addresses. Throws std::bad_alloc.
inline void* allocate_storage(std::size_t bytes) {
  const std::align_val_t alignment = alignment_of(bytes);
  void* data = ::operator new(bytes, alignment);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (alignment != std::align_val_t{storage_alignment}) ::madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

inline void free_storage(void* data, std::size_t bytes) { ::operator delete(data, alignment_of(bytes)); }

}  // namespace detail

/// Owns `size` numbers, 64-byte aligned and uninitialised unless `zeros` or `copy_of` makes it. Copies
/// deeply. Pages that nobody writes cost no memory, so a gradient that is never computed is free.
template <class T>
requires std::is_trivial_v<T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index size) : data_(allocate(size)), size_(size) {}
  Buffer(const Buffer& other) : Buffer(copy_of(other.data_, other.size_)) {}
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer() { detail::free_storage(data_, static_cast<std::size_t>(size_) * sizeof(T)); }

  static Buffer zeros(Index size) {
    Buffer buffer(size);
    T* to = buffer.data_;
    write(size, [=](Index begin, Index end) { std::fill(to + begin, to + end, T{}); });
    return buffer;
  }
  static Buffer copy_of(const T* from, Index size) {
    Buffer buffer(size);
    T* to = buffer.data_;
    write(size, [=](Index begin, Index end) { std::copy(from + begin, from + end, to + begin); });
    return buffer;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  Index size() const { return size_; }
  T& operator[](Index i) { return data_[i]; }
  const T& operator[](Index i) const { return data_[i]; }
  std::span<T> span() { return {data_, static_cast<std::size_t>(size_)}; }
  std::span<const T> span() const { return {data_, static_cast<std::size_t>(size_)}; }

 private:
  // In parallel, since Linux clears pages when they are first written to.
  template <class Body>
  static void write(Index size, const Body& body) {
    constexpr Index grain = (Index{4} << 20) / static_cast<Index>(sizeof(T));
    parallel_for(size, grain, body);
  }

  static T* allocate(Index size) {
    if (size == 0) return nullptr;
    if (size < 0 || static_cast<std::size_t>(size) > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_alloc();
    }
    return static_cast<T*>(detail::allocate_storage(static_cast<std::size_t>(size) * sizeof(T)));
  }

  T* data_ = nullptr;
  Index size_ = 0;
};

}  // namespace exfusion
