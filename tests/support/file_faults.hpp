#pragma once

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

// Stands between a test and the system calls that change files: records them, and makes some fail. The
// functions below take the place of libc's in the executable that includes this; include it in one source
// file only.

namespace exfusion::testing {

/// One call that changed a file or a name, in the order in which they returned.
struct FileOp {
  enum Kind { create, write, sync, rename, link, remove } kind = create;
  std::string path;   ///< The file (or for `sync` perhaps the folder).
  std::string other;  ///< The new name of `rename` and `link`.
  std::string data;   ///< What `write` wrote.
};

/// While it lives, records the calls that concern files below `folder`. `fail(op)` may return an error number
/// for a call about to be made, or `short_write` to have one byte written.
class FileRecorder {
 public:
  static constexpr int short_write = -1;
  using Fail = std::function<int(const FileOp&)>;

  explicit FileRecorder(std::string folder, Fail fail = nullptr)
      : folder_(std::move(folder)), fail_(std::move(fail)) {
    active_ = this;
  }
  FileRecorder(const FileRecorder&) = delete;
  FileRecorder& operator=(const FileRecorder&) = delete;
  ~FileRecorder() { active_ = nullptr; }

  const std::vector<FileOp>& ops() const { return ops_; }

  static FileRecorder* active() { return active_; }
  bool concerns(std::string_view path) const { return path.starts_with(folder_); }
  int failure_of(const FileOp& op) {
    const std::lock_guard lock(mutex_);
    return fail_ ? fail_(op) : 0;
  }
  void record(FileOp op) {
    const std::lock_guard lock(mutex_);
    ops_.push_back(std::move(op));
  }
  static std::string path_of(int descriptor) {
    char path[4096];
    const ssize_t size =
        ::readlink(("/proc/self/fd/" + std::to_string(descriptor)).c_str(), path, sizeof path);
    return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
  }

  template <class Function>
  static Function* real(const char* name) {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
  }

  /// Makes the call unless it should fail, and records it if it succeeded.
  template <class Call>
  static auto pass(FileOp op, const Call& call) -> decltype(call()) {
    FileRecorder* recorder = active_;
    if (recorder == nullptr || !recorder->concerns(op.path)) return call();
    if (const int error = recorder->failure_of(op); error > 0) {
      errno = error;
      return -1;
    }
    const auto result = call();
    if (result >= 0) recorder->record(std::move(op));
    return result;
  }

 private:
  std::string folder_;
  Fail fail_;
  std::mutex mutex_;
  std::vector<FileOp> ops_;
  static inline std::atomic<FileRecorder*> active_ = nullptr;
};

}  // namespace exfusion::testing

extern "C" {

int open(const char* path, int flags, ...) {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  static auto* const real = FileRecorder::real<int(const char*, int, ...)>("open");
  if ((flags & O_CREAT) == 0) return real(path, flags);
  return FileRecorder::pass({.kind = FileOp::create, .path = path, .other = {}, .data = {}},
                            [&] { return real(path, flags, mode); });
}

ssize_t write(int descriptor, const void* data, size_t size) {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<ssize_t(int, const void*, size_t)>("write");
  FileRecorder* recorder = FileRecorder::active();
  if (recorder == nullptr) return real(descriptor, data, size);
  FileOp op{.kind = FileOp::write, .path = FileRecorder::path_of(descriptor), .other = {}, .data = {}};
  if (!recorder->concerns(op.path)) return real(descriptor, data, size);
  const int failure = recorder->failure_of(op);
  if (failure > 0) {
    errno = failure;
    return -1;
  }
  const ssize_t written = real(descriptor, data, failure == FileRecorder::short_write && size > 1 ? 1 : size);
  if (written > 0) {
    op.data.assign(static_cast<const char*>(data), static_cast<size_t>(written));
    recorder->record(std::move(op));
  }
  return written;
}

int fsync(int descriptor) {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<int(int)>("fsync");
  return FileRecorder::pass(
      {.kind = FileOp::sync, .path = FileRecorder::path_of(descriptor), .other = {}, .data = {}},
      [&] { return real(descriptor); });
}

int rename(const char* from, const char* to) noexcept {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<int(const char*, const char*)>("rename");
  return FileRecorder::pass({.kind = FileOp::rename, .path = from, .other = to, .data = {}},
                            [&] { return real(from, to); });
}

int link(const char* from, const char* to) noexcept {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<int(const char*, const char*)>("link");
  return FileRecorder::pass({.kind = FileOp::link, .path = from, .other = to, .data = {}},
                            [&] { return real(from, to); });
}

int unlink(const char* path) noexcept {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<int(const char*)>("unlink");
  return FileRecorder::pass({.kind = FileOp::remove, .path = path, .other = {}, .data = {}},
                            [&] { return real(path); });
}

int remove(const char* path) noexcept {
  using exfusion::testing::FileOp, exfusion::testing::FileRecorder;
  static auto* const real = FileRecorder::real<int(const char*)>("remove");
  return FileRecorder::pass({.kind = FileOp::remove, .path = path, .other = {}, .data = {}},
                            [&] { return real(path); });
}

}  // extern "C"
