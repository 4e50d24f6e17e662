#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include <exfusion/core/file.hpp>

namespace exfusion::io {

/// Makes a folder, and those above it, unless it is there. Throws IoError.
inline void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && std::filesystem::is_directory(folder, error)) return;
  throw IoError(folder.string(),
                "cannot be made a folder: ", error ? error.message() : "a file of that name is in the way");
}

/// The same, and writes a file into it for a moment, so that a long run learns at its beginning that it could
/// not save its result. Throws IoError.
inline void make_writable_folder(const std::filesystem::path& folder) {
  make_folder(folder);
  const std::filesystem::path probe = folder / (".writable." + std::to_string(::getpid()));
  exfusion::detail::FileDescriptor(probe, O_WRONLY | O_CREAT | O_TRUNC).close();
  ::unlink(probe.c_str());
}

}  // namespace exfusion::io
