#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/resource.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/parallel.hpp>
#include <exfusion/io/folder.hpp>
#include <exfusion/io/folder_lock.hpp>
#include <exfusion/train/checkpoint_folder.hpp>

namespace exfusion::train {

struct CheckpointOptions {
  Index interval = 0;    ///< Steps between two checkpoints; 0: none by steps.
  double minutes = 15;   ///< Time between two checkpoints; 0: none by time.
  Index keep_last = 2;   ///< Older ones are deleted; the best one has a second name and stays.
  bool replace = false;  ///< Whether the checkpoints that are there are deleted first.
};

/// What became of a checkpoint.
struct CheckpointMessage {
  std::string text;
  bool is_problem = false;
};

/// Writes a run's checkpoints into one folder, which it locks against other writers. `save` copies the arrays
/// and returns; a background thread checks that all numbers are finite, writes the file, flushes it and
/// deletes what is older than the last few. Whatever goes wrong there becomes a message; the checkpoints
/// before are kept.
class CheckpointManager {
 public:
  /// Makes the folder if missing, locks it, and removes what a killed writer left behind. Throws ConfigError
  /// when an option is out of range, IoError when the folder cannot be written to or another run holds it.
  CheckpointManager(std::filesystem::path folder, const CheckpointOptions& options)
      : folder_(std::move(folder)), options_(check(options)), lock_(made(folder_)) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
      const auto extension = entry.path().extension();
      const bool is_checkpoint = extension == ".safetensors" || extension == ".abandoned";
      if (extension == ".tmp" || (options_.replace && is_checkpoint))
        std::filesystem::remove(entry.path(), error);
    }
  }
  CheckpointManager(const CheckpointManager&) = delete;
  CheckpointManager& operator=(const CheckpointManager&) = delete;
  ~CheckpointManager() { wait(); }

  const std::filesystem::path& folder() const { return folder_; }

  /// Whether a checkpoint is due after `step` steps, the one before being that of `last` steps, and none is
  /// being written. One that came due while another was written is due as soon as that is done.
  bool due(Index step, Index last) {
    const std::chrono::duration<double> age = Clock::now() - saved_;
    const bool by_steps = options_.interval > 0 && step / options_.interval > last / options_.interval;
    const bool by_time = options_.minutes > 0 && age.count() >= 60 * options_.minutes;
    return (by_steps || by_time) && !is_writing();
  }

  /// Copies `arrays` and writes them in the background as the checkpoint after `step` steps, `best`: as the
  /// best one too. Waits first for one that is still being written. Throws std::bad_alloc when there is no
  /// memory for the copy.
  void save(Index step, const std::vector<io::CheckpointArray>& arrays, io::CheckpointInfo info, bool best) {
    wait();
    auto entries = copy(arrays);
    saved_ = Clock::now();
    writer_ = std::async(std::launch::async,
                         [this, step, best, entries = std::move(entries), info = std::move(info)]() mutable {
                           return write(step, std::move(entries), info, best);
                         });
  }

  /// Waits until nothing is being written.
  void wait() {
    if (writer_.valid()) messages_.push_back(writer_.get());
  }

  /// What has happened since the last call: checkpoints written, and what went wrong.
  std::vector<CheckpointMessage> take_messages() {
    if (!is_writing()) wait();
    return std::exchange(messages_, {});
  }

 private:
  using Clock = std::chrono::steady_clock;

  static const CheckpointOptions& check(const CheckpointOptions& options) {
    if (options.interval < 0 || !(options.minutes >= 0) || options.keep_last < 1) {
      throw ConfigError("checkpoints", "interval is ", options.interval, ", minutes ", options.minutes,
                        ", keep_last ", options.keep_last,
                        ": interval and minutes must not be negative, keep_last at least 1");
    }
    return options;
  }

  static const std::filesystem::path& made(const std::filesystem::path& folder) {
    io::make_folder(folder);
    return folder;
  }

  bool is_writing() const {
    return writer_.valid() && writer_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
  }

  /// The arrays one after another as in the file, so that they can be written by one call.
  std::vector<io::SafetensorsEntry> copy(const std::vector<io::CheckpointArray>& arrays) {
    std::vector<io::SafetensorsEntry> entries;
    std::size_t bytes = 0;
    for (const auto& array : arrays) {
      entries.push_back({array.name, array.dtype, array.shape, array.bytes});
      bytes += array.bytes.size();
    }
    io::sort_entries(entries);
    if (static_cast<std::size_t>(copy_.size()) < bytes) copy_ = Buffer<std::byte>(static_cast<Index>(bytes));
    std::byte* place = copy_.data();
    for (auto& entry : entries) {
      parallel_for(std::ssize(entry.bytes), Index{1} << 20, [&](Index begin, Index end) {
        std::copy_n(entry.bytes.data() + begin, end - begin, place + begin);
      });
      entry.bytes = {place, entry.bytes.size()};
      place += entry.bytes.size();
    }
    return entries;
  }

  // Runs in the background.
  CheckpointMessage write(Index step, std::vector<io::SafetensorsEntry> entries,
                          const io::CheckpointInfo& info, bool best) const {
    ::setpriority(PRIO_PROCESS, 0, 10);  // of this thread alone: training goes first
    const auto begin = Clock::now();
    const std::string name = "checkpoint of step " + std::to_string(step);
    try {
      if (const std::string bad = io::first_not_finite(entries); !bad.empty())
        return {name + " not saved: " + bad + " is not finite" + last_good(), true};
      const std::filesystem::path path = checkpoint_path(folder_, step);
      io::write_checkpoint(path, std::move(entries), info);
      if (best) link(path, best_checkpoint_path(folder_));
      delete_old();
      const std::chrono::duration<double> seconds = Clock::now() - begin;
      char text[64];
      std::snprintf(text, sizeof text, " (%.1f MiB in %.1f s)",
                    static_cast<double>(std::filesystem::file_size(path)) / 1048576, seconds.count());
      return {name + " saved" + (best ? ", the best so far" : "") + text};
    } catch (const std::exception& error) {
      return {name + " could not be saved: " + error.what() + last_good(), true};
    }
  }

  std::string last_good() const {
    const auto stored = list_checkpoints(folder_);
    if (stored.empty()) return "; there is no earlier one";
    return "; that of step " + std::to_string(stored.front().step) + " is kept";
  }

  /// Gives a file a second name, replacing what had it; a copy where the file system knows no second names.
  static void link(const std::filesystem::path& from, const std::filesystem::path& to) {
    const std::filesystem::path temporary = to.string() + ".tmp";
    std::error_code error;
    std::filesystem::remove(temporary, error);
    std::filesystem::create_hard_link(from, temporary, error);
    if (error) return write_file_atomically(to, read_file(from));
    std::filesystem::rename(temporary, to);
    exfusion::detail::FileDescriptor(to.parent_path(), O_RDONLY | O_DIRECTORY).flush_to_disk();
  }

  void delete_old() const {
    const auto stored = list_checkpoints(folder_);
    for (auto i = static_cast<std::size_t>(options_.keep_last); i < stored.size(); ++i) {
      std::error_code ignored;
      std::filesystem::remove(stored[i].path, ignored);
    }
  }

  std::filesystem::path folder_;
  CheckpointOptions options_;
  io::FolderLock lock_;
  Buffer<std::byte> copy_;
  Clock::time_point saved_ = Clock::now();
  std::future<CheckpointMessage> writer_;
  std::vector<CheckpointMessage> messages_;
};

}  // namespace exfusion::train
