#pragma once

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>

namespace exfusion::io {

/// While it lives, nobody else holds a FolderLock on the same folder. The kernel lets go of it when the
/// process ends, however it ends: nothing is left to clean up.
class FolderLock {
 public:
  /// Locks `folder` by a file `.lock` in it. Throws IoError when another process holds it, naming that, or
  /// when the file cannot be made.
  explicit FolderLock(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / ".lock";
    descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw IoError(path.string(), "cannot be opened: ", std::strerror(errno));
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const bool is_taken = errno == EWOULDBLOCK;
      const std::string reason = std::strerror(errno);
      ::close(descriptor_);
      if (!is_taken) throw IoError(path.string(), "cannot be locked: ", reason);
      throw IoError(folder.string(), "is in use by another run (process ", owner(path),
                    "): two runs cannot write into one folder");
    }
    const std::string process = std::to_string(::getpid()) + "\n";
    if (::ftruncate(descriptor_, 0) != 0 || ::write(descriptor_, process.data(), process.size()) < 0) {
      return;  // the number only serves the message above: a full disk must not stop the run
    }
  }
  FolderLock(FolderLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

 private:
  static std::string owner(const std::filesystem::path& path) {
    std::string text = read_file(path);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text.empty() ? "unknown" : text;
  }

  int descriptor_ = -1;
};

}  // namespace exfusion::io
