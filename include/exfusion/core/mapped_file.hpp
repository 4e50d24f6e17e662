#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include <sys/mman.h>

#include <exfusion/core/file.hpp>

namespace exfusion {

/// A file's content in memory, read page by page when it is looked at. The file must not be cut short while
/// it is mapped.
class MappedFile {
 public:
  /// Throws IoError when the file cannot be opened, is not a regular file or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path)
      : MappedFile(detail::FileDescriptor(path, O_RDONLY)) {}
  /// The same of a file that is open.
  explicit MappedFile(const detail::FileDescriptor& file) {
    size_ = static_cast<std::size_t>(file.size());
    if (size_ == 0) return;
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number(), 0);
    if (address == MAP_FAILED)
      throw IoError(file.path().string(), "cannot be mapped: ", std::strerror(errno));
    data_ = static_cast<const std::byte*>(address);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }

  /// Begins on a page.
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace exfusion
