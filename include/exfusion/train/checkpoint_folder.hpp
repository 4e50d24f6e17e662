#pragma once

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <exfusion/io/checkpoint.hpp>

namespace exfusion::train {

// The checkpoints of one run in one folder: step-N.safetensors, and best.safetensors, a second name of one
// of them or a copy.

/// One of the files, as its name says.
struct StoredCheckpoint {
  Index step = 0;
  std::filesystem::path path;
};

/// The file of the checkpoint after `step` steps.
inline std::filesystem::path checkpoint_path(const std::filesystem::path& folder, Index step) {
  return folder / ("step-" + std::to_string(step) + ".safetensors");
}

/// The file of the checkpoint with the best validation loss.
inline std::filesystem::path best_checkpoint_path(const std::filesystem::path& folder) {
  return folder / "best.safetensors";
}

/// All step-N.safetensors in `folder`, the newest first; none when there is no such folder.
inline std::vector<StoredCheckpoint> list_checkpoints(const std::filesystem::path& folder) {
  constexpr std::string_view before = "step-", after = ".safetensors";
  std::vector<StoredCheckpoint> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(before) || !name.ends_with(after)) continue;
    const char* first = name.data() + before.size();
    const char* last = name.data() + name.size() - after.size();
    Index step = 0;
    if (const auto result = std::from_chars(first, last, step); result.ptr != last || first == last) continue;
    found.push_back({step, entry.path()});
  }
  std::ranges::sort(found, std::ranges::greater{}, &StoredCheckpoint::step);
  return found;
}

/// Opens the newest checkpoint of `folder` whose hashes all match; what was wrong with those passed over is
/// appended to `notes`. Null when the folder has no checkpoint at all. Throws FormatError when it has some,
/// all of them damaged.
inline std::unique_ptr<io::CheckpointReader> open_newest_checkpoint(const std::filesystem::path& folder,
                                                                    std::vector<std::string>& notes) {
  std::vector<StoredCheckpoint> candidates = list_checkpoints(folder);
  std::error_code error;
  if (const auto best = best_checkpoint_path(folder); std::filesystem::exists(best, error))
    candidates.push_back({0, best});
  for (const StoredCheckpoint& candidate : candidates) {
    try {
      auto reader = std::make_unique<io::CheckpointReader>(candidate.path);
      reader->verify();
      return reader;
    } catch (const Error& problem) {
      notes.push_back(std::string(problem.what()) + "; trying the checkpoint before it");
    }
  }
  if (candidates.empty()) return nullptr;
  throw FormatError(folder.string(), "none of its ", candidates.size(),
                    " checkpoints can be read; the newest: ", notes.front());
}

/// Renames the checkpoints of later steps than `step`, so that a run that goes on from there never comes upon
/// them: step-N.safetensors becomes step-N.abandoned. Returns how many there were. Throws IoError.
inline Index abandon_later_checkpoints(const std::filesystem::path& folder, Index step) {
  Index count = 0;
  for (const StoredCheckpoint& later : list_checkpoints(folder)) {
    if (later.step <= step) break;
    std::error_code error;
    std::filesystem::rename(later.path, std::filesystem::path(later.path).replace_extension(".abandoned"),
                            error);
    if (error) throw IoError(later.path.string(), "cannot be renamed: ", error.message());
    ++count;
  }
  return count;
}

}  // namespace exfusion::train
