#pragma once

#include <filesystem>
#include <system_error>

#include <exfusion/core/error.hpp>

namespace exfusion::data::detail {

/// Whether there is a file or folder of this name that can be seen.
inline bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// Throws IoError when `folder` is missing, cannot be seen or is no folder.
inline void require_folder(const std::filesystem::path& folder) {
  std::error_code error;
  const auto status = std::filesystem::status(folder, error);
  if (std::filesystem::is_directory(status)) return;
  if (error) throw IoError(folder.string(), "cannot be opened: ", error.message());
  throw IoError(folder.string(), "is not a folder");
}

}  // namespace exfusion::data::detail
