#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace exfusion {

/// A folder that is empty at first and gone at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "exfusion_data_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// A file or folder of the real data, from EXFUSION_DATA_DIR or a folder shared/data beside the sources or
/// beside a folder above them; nothing when it is not there.
inline std::optional<std::filesystem::path> real_data(const std::string& name) {
  namespace fs = std::filesystem;
  if (const char* folder = std::getenv("EXFUSION_DATA_DIR"); folder != nullptr) {
    return fs::exists(fs::path(folder) / name) ? std::optional(fs::path(folder) / name) : std::nullopt;
  }
  for (fs::path at = EXFUSION_SOURCE_DIR; at.has_relative_path(); at = at.parent_path()) {
    const fs::path found = at.parent_path() / "shared" / "data" / name;
    if (fs::exists(found)) return found;
  }
  return std::nullopt;
}

/// The text of the exception that `action` throws; fails the test when it throws no `Expected`.
template <class Expected, class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Expected& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another kind of error: " << error.what();
    return {};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace exfusion

#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE(std::string(text).find(part), std::string::npos) << "in: " << (text)
