#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <exfusion/core/file.hpp>

#include "temporary_folder.hpp"

namespace exfusion::testing {

/// What a shell script wrote, and whether it succeeded.
struct ShellResult {
  bool succeeded = false;
  std::string output;
};

/// Runs a script by bash, in which the first command that fails ends it. It and what it writes are kept in
/// `folder` under names that begin with a dot.
inline ShellResult run_shell(const TemporaryFolder& folder, const std::string& script) {
  folder.file(".script", "set -euo pipefail\n" + script);
  const std::string command = "cd '" + folder.path().string() + "' && bash .script >.output 2>&1 </dev/null";
  const int status = std::system(command.c_str());
  return {.succeeded = status == 0, .output = read_file(folder / ".output")};
}

}  // namespace exfusion::testing
