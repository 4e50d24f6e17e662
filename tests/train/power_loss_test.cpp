#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/train/checkpoint_manager.hpp>

#include "support/file_faults.hpp"
#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

using testing::FileOp;
using testing::FileRecorder;
using testing::TemporaryFolder;

/// What a checkpoint of these tests holds: small arrays that tell its step.
struct State {
  std::vector<float> weights = std::vector<float>(24);
  std::vector<std::int64_t> steps = std::vector<std::int64_t>(2);

  std::vector<io::CheckpointArray> at(Index step) {
    std::ranges::fill(weights, static_cast<float>(step));
    return {{"weights", io::Dtype::F32, {24}, std::as_writable_bytes(std::span(weights))},
            {"steps", io::Dtype::I64, {2}, std::as_writable_bytes(std::span(steps))}};
  }
};

io::CheckpointInfo info_of(Index step) {
  return {.config = nlohmann::json::object(), .state = {{"step", step}}};
}

/// A disk after a power loss: which file each name means, and what the files hold.
class Disk {
 public:
  using Files = std::map<std::string, std::string>;

  explicit Disk(const std::vector<FileOp>& ops) : ops_(ops) {}

  /// All disks that a power loss after the first `count` calls can leave. What was synchronised is there; of
  /// the names changed since the folder was, any subset is; of the writes to a file since that was, any
  /// prefix, and all but one with zeros in its place.
  std::set<Files> after(std::size_t count) const {
    std::vector<std::size_t> pending;
    const std::size_t synced = last_sync_of_folder(count);
    for (std::size_t i = synced; i < count; ++i) {
      if (changes_names(ops_[i])) pending.push_back(i);
    }
    std::set<Files> disks;
    for (std::size_t chosen = 0; chosen < std::size_t{1} << pending.size(); ++chosen) {
      std::set<std::size_t> lost;
      for (std::size_t bit = 0; bit < pending.size(); ++bit) {
        if ((chosen >> bit & 1U) == 0) lost.insert(pending[bit]);
      }
      const std::map<std::string, int> names = names_after(count, lost);
      const std::size_t variants = most_pending_writes(count) * 2 + 1;
      for (std::size_t variant = 0; variant < variants; ++variant) {
        Files files;
        for (const auto& [name, file] : names) files[name] = content(file, count, variant);
        disks.insert(std::move(files));
      }
    }
    return disks;
  }

 private:
  static bool changes_names(const FileOp& op) { return op.kind != FileOp::write && op.kind != FileOp::sync; }

  static bool is_folder_sync(const FileOp& op) {
    return op.kind == FileOp::sync && op.path.find("safetensors") == std::string::npos;
  }

  std::size_t last_sync_of_folder(std::size_t count) const {
    for (std::size_t i = count; i-- > 0;) {
      if (is_folder_sync(ops_[i])) return i + 1;
    }
    return 0;
  }

  /// Numbers the files in the order of their creation; `lost` name changes never happened, though what they
  /// named did.
  std::map<std::string, int> names_after(std::size_t count, const std::set<std::size_t>& lost) const {
    std::map<std::string, int> live, kept;
    int files = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const FileOp& op = ops_[i];
      const bool keep = !lost.contains(i);
      if (op.kind == FileOp::create) {
        live[op.path] = files++;
        if (keep) kept[op.path] = live[op.path];
      } else if (op.kind == FileOp::rename || op.kind == FileOp::link) {
        live[op.other] = live[op.path];
        if (keep) kept[op.other] = live[op.path];
        if (op.kind == FileOp::rename) live.erase(op.path);
        if (op.kind == FileOp::rename && keep) kept.erase(op.path);
      } else if (op.kind == FileOp::remove) {
        live.erase(op.path);
        if (keep) kept.erase(op.path);
      }
    }
    return kept;
  }

  /// The writes to a file among the first `count` calls, and how many of them are synchronised.
  std::pair<std::vector<std::string>, std::size_t> writes_to(int file, std::size_t count) const {
    std::vector<std::string> writes;
    std::size_t synced = 0;
    std::map<std::string, int> live;
    int files = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const FileOp& op = ops_[i];
      if (op.kind == FileOp::create) live[op.path] = files++;
      if (op.kind == FileOp::rename || op.kind == FileOp::link) live[op.other] = live[op.path];
      const auto place = live.find(op.path);
      if (place == live.end() || place->second != file) continue;
      if (op.kind == FileOp::write) writes.push_back(op.data);
      if (op.kind == FileOp::sync) synced = writes.size();
    }
    return {writes, synced};
  }

  std::size_t most_pending_writes(std::size_t count) const {
    std::size_t most = 0;
    const auto files = static_cast<int>(std::ranges::count(ops_, FileOp::create, &FileOp::kind));
    for (int file = 0; file < files; ++file) {
      const auto [writes, synced] = writes_to(file, count);
      most = std::max(most, writes.size() - synced);
    }
    return most;
  }

  /// Variant v: the first v pending writes only; beyond their number: all, with zeros for one of them.
  std::string content(int file, std::size_t count, std::size_t variant) const {
    const auto [writes, synced] = writes_to(file, count);
    const std::size_t pending = writes.size() - synced;
    std::string text;
    for (std::size_t i = 0; i < writes.size(); ++i) {
      const bool is_pending = i >= synced;
      if (is_pending && variant <= pending && i - synced >= variant) break;
      const bool is_hole = is_pending && variant > pending && i - synced == (variant - pending - 1) % pending;
      text += is_hole ? std::string(writes[i].size(), '\0') : writes[i];
    }
    return text;
  }

  const std::vector<FileOp>& ops_;
};

/// Saves checkpoints one after another; returns for each number of calls made the step acknowledged by then.
std::vector<Index> save_some(const std::filesystem::path& folder, const FileRecorder& recorder,
                             Index keep_last) {
  State state;
  CheckpointManager manager(folder, {.keep_last = keep_last});
  std::vector<Index> acknowledged;
  Index last = 0;
  for (const Index step : {1, 2, 3, 4, 5}) {
    manager.save(step, state.at(step), info_of(step), step == 2 || step == 4);
    manager.wait();
    acknowledged.resize(recorder.ops().size(), last);
    for (const auto& message : manager.take_messages()) EXPECT_FALSE(message.is_problem) << message.text;
    last = step;
  }
  acknowledged.resize(recorder.ops().size() + 1, last);
  return acknowledged;
}

void materialise(const std::filesystem::path& folder, const Disk::Files& files) {
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (const auto& [path, content] : files) {
    const auto name = std::filesystem::path(path).filename();
    if (name == ".lock") continue;
    std::ofstream(folder / name, std::ios::binary) << content;
  }
}

TEST(PowerLoss, AtAnyMomentLeavesAValidCheckpointNoOlderThanTheLastAcknowledged) {
  for (const Index keep_last : {1, 2}) {
    const TemporaryFolder folder;
    std::vector<FileOp> ops;
    std::vector<Index> acknowledged;
    {
      const FileRecorder recorder(folder.path().string());
      acknowledged = save_some(folder / "run", recorder, keep_last);
      ops = recorder.ops();
    }
    ASSERT_GT(ops.size(), 40U);
    const Disk disk(ops);
    std::size_t disks = 0;
    for (std::size_t count = 0; count <= ops.size(); ++count) {
      for (const Disk::Files& files : disk.after(count)) {
        ++disks;
        materialise(folder / "after", files);
        std::vector<std::string> notes;
        const auto found = open_newest_checkpoint(folder / "after", notes);
        EXPECT_TRUE(notes.empty()) << notes.front();
        const Index step = found ? found->info().state["step"].get<Index>() : 0;
        ASSERT_GE(step, acknowledged[count]) << "after " << count << " calls";
        if (!found) continue;
        State state;
        found->read_into(state.at(-1));
        EXPECT_EQ(state.weights[5], static_cast<float>(step));
      }
    }
    EXPECT_GT(disks, ops.size());
  }
}

/// Saves step 1, then step 2 with one call failing, then step 3; expects that 2 is told of and 1 kept.
void expect_survival_of(FileOp::Kind kind, std::size_t which, int error, bool& is_reached) {
  const TemporaryFolder folder;
  const auto path = folder / "run";
  State state;
  CheckpointManager manager(path, {.keep_last = 2});
  manager.save(1, state.at(1), info_of(1), true);
  manager.wait();
  std::size_t seen = 0;
  is_reached = false;
  {
    const FileRecorder recorder(folder.path().string(), [&](const FileOp& op) {
      if (op.kind != kind || seen++ != which) return 0;
      is_reached = true;
      return error;
    });
    manager.save(2, state.at(2), info_of(2), false);
    manager.wait();
  }
  if (!is_reached) return;
  std::vector<std::string> notes;
  const auto found = open_newest_checkpoint(path, notes);
  ASSERT_TRUE(found);
  EXPECT_TRUE(notes.empty());
  const auto messages = manager.take_messages();
  ASSERT_EQ(messages.size(), 2U);
  if (error == FileRecorder::short_write) {
    EXPECT_FALSE(messages[1].is_problem) << messages[1].text;
    EXPECT_EQ(found->info().state["step"], 2);
  } else {
    EXPECT_TRUE(messages[1].is_problem) << messages[1].text;
    EXPECT_NE(messages[1].text.find(std::strerror(error)), std::string::npos) << messages[1].text;
    EXPECT_NE(messages[1].text.find("is kept"), std::string::npos) << messages[1].text;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path))
    EXPECT_NE(entry.path().extension(), ".tmp");
  manager.save(3, state.at(3), info_of(3), false);
  manager.wait();
  EXPECT_FALSE(manager.take_messages().front().is_problem);
  EXPECT_EQ(open_newest_checkpoint(path, notes)->info().state["step"], 3);
}

TEST(FileFaults, NeverCostTheCheckpointBefore) {
  const std::vector<std::pair<FileOp::Kind, std::vector<int>>> faults{
      {FileOp::create, {ENOSPC, EACCES}},
      {FileOp::write, {ENOSPC, EIO, FileRecorder::short_write}},
      {FileOp::sync, {EIO, ENOSPC}},
      {FileOp::rename, {EIO, ENOSPC}}};
  for (const auto& [kind, errors] : faults) {
    for (const int error : errors) {
      std::size_t which = 0;
      for (bool is_reached = true; is_reached && which < 100; ++which) {
        SCOPED_TRACE("kind " + std::to_string(kind) + ", call " + std::to_string(which) + ", error " +
                     std::to_string(error));
        expect_survival_of(kind, which, error, is_reached);
      }
      EXPECT_GT(which, 1U);
    }
  }
}

}  // namespace
}  // namespace exfusion::train
