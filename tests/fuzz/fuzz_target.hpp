#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

// What the fuzz targets share. A target is one source file with EXFUSION_FUZZ_TARGET: fuzz_main.cpp makes a
// libFuzzer program of it, replay_test.cpp runs all of them over the inputs kept in corpus/.

namespace exfusion::fuzz {

/// One reader of outside data under test.
struct Target {
  std::string name;
  /// Reads the input. Errors of the library are an expected outcome, anything else that escapes is a bug.
  void (*run)(std::string_view input);
  /// Bytes that a single allocation may have beside 4 for each byte of the input.
  std::size_t constant_bytes;
};

/// The targets linked into this program.
inline std::vector<Target>& targets() {
  static std::vector<Target> all;
  return all;
}

/// The largest single allocation that the running input may make; fuzz_main.cpp sets and enforces it.
inline std::size_t allocation_limit = 0;

struct Registration {
  Registration(const char* name, void (*run)(std::string_view), std::size_t constant_bytes) {
    targets().push_back({name, run, constant_bytes});
  }
};

/// A file in memory, for readers that take a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("input", MFD_CLOEXEC)) {
    if (descriptor_ < 0) throw std::runtime_error("no file in memory");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  /// Replaces the content; the path that leads to it.
  const std::filesystem::path& holding(std::string_view content) {
    const auto size = static_cast<ssize_t>(content.size());
    if (::ftruncate(descriptor_, 0) != 0 || ::pwrite(descriptor_, content.data(), content.size(), 0) != size)
      throw std::runtime_error("the file in memory cannot be written");
    return path_;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  int descriptor_;
  std::filesystem::path path_;
};

/// A folder of memory files, for readers that look for files by their names.
class MemoryFolder {
 public:
  explicit MemoryFolder(const std::vector<std::string>& names) : files_(names.size()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "exfusion-fuzz-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder: " + pattern);
    path_ = pattern;
    for (std::size_t i = 0; i < names.size(); ++i)
      std::filesystem::create_symlink(files_[i].path(), path_ / names[i]);
  }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;
  ~MemoryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  MemoryFile& operator[](std::size_t i) { return files_[i]; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::vector<MemoryFile> files_;
  std::filesystem::path path_;
};

/// Takes the first byte off the input: a choice among variants, or a small number. 0 at the end.
inline unsigned take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  const auto byte = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return byte;
}

/// Takes a part off the input whose length its first two bytes say (little-endian, at most what is there).
inline std::string_view take_part(std::string_view& input) {
  const std::size_t low = take_byte(input), high = take_byte(input);
  const std::string_view part = input.substr(0, std::min(low + 256 * high, input.size()));
  input.remove_prefix(part.size());
  return part;
}

/// Ends the program with a message unless `holds`: for what must be true of everything that was accepted.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  throw std::logic_error(std::string("broken promise: ") + what);
}

}  // namespace exfusion::fuzz

/// Defines the target `name`; the body reads `input`.
#define EXFUSION_FUZZ_TARGET(name, constant_bytes)                                              \
  static void name(std::string_view input);                                                     \
  static const ::exfusion::fuzz::Registration name##_registration(#name, name, constant_bytes); \
  static void name([[maybe_unused]] std::string_view input)
