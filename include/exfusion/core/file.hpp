#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <exfusion/core/error.hpp>

namespace exfusion {

namespace detail {

/// An open file descriptor that closes itself.
class FileDescriptor {
 public:
  FileDescriptor(const std::filesystem::path& path, int flags, mode_t mode = 0666)
      : path_(path), descriptor_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    if (descriptor_ < 0) fail("cannot be opened");
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  void write_all(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("cannot be written");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  /// The same for much data that nobody reads soon: past the page cache, which costs no copy, as far as the
  /// file system can and the data stand on whole pages in memory and in the file.
  void write_all_direct(std::span<const std::byte> bytes) {
#ifdef O_DIRECT
    constexpr std::size_t page = 4096;
    const int flags = ::fcntl(descriptor_, F_GETFL);
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % page == 0 &&
                            ::lseek(descriptor_, 0, SEEK_CUR) % static_cast<off_t>(page) == 0;
    if (is_aligned && ::fcntl(descriptor_, F_SETFL, flags | O_DIRECT) == 0) {
      while (bytes.size() >= page) {
        const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size() / page * page);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) break;  // the ordinary way will work, or say what is wrong
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        if (static_cast<std::size_t>(written) % page != 0) break;
      }
      ::fcntl(descriptor_, F_SETFL, flags);
    }
#endif
    write_all(bytes);
  }

  /// Overwrites what stands at `offset`, leaving the position of `write_all` alone.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("cannot be written");
      offset += static_cast<std::uint64_t>(written);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  /// Reads up to `room.size()` bytes; fewer only at the end of the file.
  std::size_t read_up_to(std::span<std::byte> room) {
    std::size_t total = 0;
    while (total < room.size()) {
      const ssize_t got = ::read(descriptor_, room.data() + total, room.size() - total);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("cannot be read");
      if (got == 0) break;
      total += static_cast<std::size_t>(got);
    }
    return total;
  }

  /// Size in bytes. Throws IoError when this is not a regular file.
  std::uint64_t size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("cannot be examined");
    if (!S_ISREG(status.st_mode)) throw IoError(path_.string(), "is not a regular file");
    return static_cast<std::uint64_t>(status.st_size);
  }

  /// Fills `room` from `offset` on, leaving the position of `read_up_to` alone. Throws IoError when the file
  /// ends before.
  void read_at(std::uint64_t offset, std::span<std::byte> room) const {
    while (!room.empty()) {
      const ssize_t got = ::pread(descriptor_, room.data(), room.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail("cannot be read");
      if (got == 0)
        throw IoError(path_.string(), "ends ", room.size(), " bytes early: was it cut while open?");
      offset += static_cast<std::uint64_t>(got);
      room = room.subspan(static_cast<std::size_t>(got));
    }
  }

  /// The system's number for it.
  int number() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }

  void flush_to_disk() {
    if (::fsync(descriptor_) != 0) fail("cannot be flushed to disk");
  }

  void close() {
    if (::close(std::exchange(descriptor_, -1)) != 0) fail("cannot be closed");
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw IoError(path_.string(), what, ": ", std::strerror(errno));
  }

  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace detail

/// The whole content of a file. Throws IoError when it cannot be read or is a folder.
inline std::string read_file(const std::filesystem::path& path) {
  detail::FileDescriptor file(path, O_RDONLY);
  std::error_code error;
  const auto expected = std::filesystem::file_size(path, error);
  std::string content(error ? 0 : static_cast<std::size_t>(expected), '\0');
  content.resize(file.read_up_to(std::as_writable_bytes(std::span(content))));
  for (char extra[4096]; true;) {  // pipes have no size, and a file may have grown
    const std::size_t got = file.read_up_to(std::as_writable_bytes(std::span(extra)));
    if (got == 0) return content;
    content.append(extra, got);
  }
}

/// Writes a file whole or not at all: to a temporary file in the same folder, flushed to disk, then renamed
/// over `path`, then the folder flushed. `write(file)` receives the open file and may call its `write_all`
/// repeatedly. A failure removes the temporary file and leaves `path` as it was. Throws IoError.
template <class Write>
requires std::invocable<Write&, detail::FileDescriptor&>
void write_file_atomically(const std::filesystem::path& path, Write&& write) {
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::filesystem::path temporary = path;
  temporary.concat(".").concat(std::to_string(::getpid())).concat(".tmp");
  try {
    detail::FileDescriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    struct stat existing {};
    if (::stat(path.c_str(), &existing) == 0) ::chmod(temporary.c_str(), existing.st_mode & 07777U);
    write(file);
    file.flush_to_disk();
    file.close();
    std::filesystem::rename(temporary, path);
    detail::FileDescriptor(folder, O_RDONLY | O_DIRECTORY).flush_to_disk();
  } catch (const std::filesystem::filesystem_error& error) {
    ::unlink(temporary.c_str());
    throw IoError(path.string(), "cannot be put in place: ", error.code().message());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

/// The same for content that is already in memory.
inline void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path, [content](detail::FileDescriptor& file) {
    file.write_all(std::as_bytes(std::span(content.data(), content.size())));
  });
}

}  // namespace exfusion
