#include <csignal>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <exfusion/core/file.hpp>
#include <exfusion/train/checkpoint_manager.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

using testing::TemporaryFolder;

/// A state of one array, whose first number says what was saved.
struct State {
  std::vector<float> values = std::vector<float>(1000, 0.5F);

  std::vector<io::CheckpointArray> arrays() {
    return {{"values", io::Dtype::F32, {std::ssize(values)}, std::as_writable_bytes(std::span(values))}};
  }
};

io::CheckpointInfo info_of(Index step) {
  return {.config = nlohmann::json::object(), .state = {{"step", step}}};
}

void save(CheckpointManager& manager, State& state, Index step, bool best = false) {
  state.values[0] = static_cast<float>(step);
  manager.save(step, state.arrays(), info_of(step), best);
}

std::vector<Index> steps_in(const std::filesystem::path& folder) {
  std::vector<Index> steps;
  for (const auto& stored : list_checkpoints(folder)) steps.push_back(stored.step);
  return steps;
}

Index newest(const std::filesystem::path& folder, std::vector<std::string>& notes) {
  const auto reader = open_newest_checkpoint(folder, notes);
  return reader ? reader->info().state["step"].get<Index>() : -1;
}

TEST(CheckpointManager, KeepsTheLastFewAndTheBest) {
  const TemporaryFolder folder;
  const auto path = folder / "checkpoints";
  CheckpointManager manager(path, {.interval = 1, .minutes = 0, .keep_last = 2});
  State state;
  for (const Index step : {1, 2, 10, 9, 11}) save(manager, state, step, step == 2);
  manager.wait();
  EXPECT_EQ(steps_in(path), (std::vector<Index>{11, 10}));
  EXPECT_EQ(io::CheckpointReader(best_checkpoint_path(path)).info().state["step"], 2);
  struct stat status {};
  ASSERT_EQ(::stat(best_checkpoint_path(path).c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 1U);  // it was a second name until the first was deleted
  for (const auto& message : manager.take_messages()) EXPECT_FALSE(message.is_problem) << message.text;
}

TEST(CheckpointManager, SavesWhatStoodThereWhenItWasAsked) {
  const TemporaryFolder folder;
  CheckpointManager manager(folder.path(), {});
  State state;
  save(manager, state, 5);
  state.values[0] = -1;
  manager.wait();
  State read;
  io::CheckpointReader(checkpoint_path(folder.path(), 5)).read_into(read.arrays());
  EXPECT_EQ(read.values[0], 5);
}

TEST(CheckpointManager, IsDueByStepsAndByTime) {
  const TemporaryFolder folder;
  CheckpointManager by_steps(folder / "a", {.interval = 20, .minutes = 0});
  EXPECT_FALSE(by_steps.due(19, 0));
  EXPECT_TRUE(by_steps.due(40, 20));
  EXPECT_FALSE(by_steps.due(59, 40));
  EXPECT_TRUE(by_steps.due(61, 40)) << "missed at 60";
  CheckpointManager by_time(folder / "b", {.interval = 0, .minutes = 1e-9});
  EXPECT_TRUE(by_time.due(7, 0));
  CheckpointManager never(folder / "c", {.interval = 0, .minutes = 0});
  EXPECT_FALSE(never.due(20, 0));
  EXPECT_THROW(CheckpointManager(folder / "d", {.interval = -1}), ConfigError);
  EXPECT_THROW(CheckpointManager(folder / "d", {.keep_last = 0}), ConfigError);
}

TEST(CheckpointManager, LocksItsFolder) {
  const TemporaryFolder folder;
  const CheckpointManager manager(folder.path(), {});
  EXPECT_THROW(CheckpointManager(folder.path(), {}), IoError);
}

TEST(CheckpointManager, FallsBackFromDamagedFilesSayingSo) {
  const TemporaryFolder folder;
  State state;
  {
    CheckpointManager manager(folder.path(), {.keep_last = 3});
    for (const Index step : {1, 2, 3}) save(manager, state, step, step == 1);
  }
  std::vector<std::string> notes;
  EXPECT_EQ(newest(folder.path(), notes), 3);
  EXPECT_TRUE(notes.empty());
  std::string content = read_file(checkpoint_path(folder.path(), 3));
  content.back() = static_cast<char>(content.back() ^ 1);
  folder.file("step-3.safetensors", content);
  EXPECT_EQ(newest(folder.path(), notes), 2);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find("step-3"), std::string::npos) << notes[0];
  EXPECT_NE(notes[0].find("hash"), std::string::npos) << notes[0];
  folder.file("step-2.safetensors", "");
  std::filesystem::remove(checkpoint_path(folder.path(), 1));
  notes.clear();
  EXPECT_EQ(newest(folder.path(), notes), 1) << "the best one is a checkpoint, too";
  std::filesystem::remove(best_checkpoint_path(folder.path()));
  EXPECT_THROW(newest(folder.path(), notes), FormatError);
  std::filesystem::remove(checkpoint_path(folder.path(), 2));
  std::filesystem::remove(checkpoint_path(folder.path(), 3));
  EXPECT_EQ(newest(folder.path(), notes), -1);
  EXPECT_EQ(newest(folder / "absent", notes), -1);
}

TEST(CheckpointManager, RefusesToSaveNumbersThatAreNotFinite) {
  const TemporaryFolder folder;
  CheckpointManager manager(folder.path(), {});
  State state;
  save(manager, state, 1);
  state.values[7] = std::numeric_limits<float>::quiet_NaN();
  save(manager, state, 2);
  manager.wait();
  const auto messages = manager.take_messages();
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_TRUE(messages[1].is_problem);
  EXPECT_NE(messages[1].text.find("values is not finite; that of step 1 is kept"), std::string::npos)
      << messages[1].text;
  EXPECT_EQ(steps_in(folder.path()), (std::vector<Index>{1}));
}

TEST(CheckpointManager, GoesOnWhenTheDiskIsFull) {
  const TemporaryFolder folder;
  CheckpointManager manager(folder.path(), {});
  State state;
  save(manager, state, 1);
  manager.wait();
  // A limit on the size of files fails a write in the middle, as a full disk does.
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit old {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const struct rlimit small { 2000, old.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &small);
  save(manager, state, 2);
  manager.wait();
  ::setrlimit(RLIMIT_FSIZE, &old);
  save(manager, state, 3);
  manager.wait();
  const auto messages = manager.take_messages();
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_TRUE(messages[1].is_problem);
  EXPECT_NE(messages[1].text.find("step 2 could not be saved"), std::string::npos) << messages[1].text;
  EXPECT_NE(messages[1].text.find("that of step 1 is kept"), std::string::npos) << messages[1].text;
  EXPECT_FALSE(messages[2].is_problem) << messages[2].text;
  EXPECT_EQ(steps_in(folder.path()), (std::vector<Index>{3, 1}));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_NE(entry.path().extension(), ".tmp");
}

TEST(CheckpointManager, RemovesWhatAKilledWriterLeft) {
  const TemporaryFolder folder;
  folder.file("step-4.safetensors.123.tmp", "half");
  const CheckpointManager manager(folder.path(), {});
  EXPECT_FALSE(std::filesystem::exists(folder / "step-4.safetensors.123.tmp"));
}

TEST(CheckpointManager, ReplacesAnOldRunsCheckpointsOnlyWhenTold) {
  const TemporaryFolder folder;
  State state;
  {
    CheckpointManager manager(folder.path(), {});
    save(manager, state, 4, true);
  }
  { const CheckpointManager manager(folder.path(), {}); }
  EXPECT_EQ(steps_in(folder.path()), (std::vector<Index>{4}));
  const CheckpointManager manager(folder.path(), {.replace = true});
  EXPECT_TRUE(steps_in(folder.path()).empty());
  EXPECT_FALSE(std::filesystem::exists(best_checkpoint_path(folder.path())));
}

TEST(CheckpointFolder, PutsLaterCheckpointsAside) {
  const TemporaryFolder folder;
  State state;
  {
    CheckpointManager manager(folder.path(), {.keep_last = 5});
    for (const Index step : {1, 2, 3}) save(manager, state, step);
  }
  EXPECT_EQ(abandon_later_checkpoints(folder.path(), 1), 2);
  EXPECT_EQ(steps_in(folder.path()), (std::vector<Index>{1}));
  EXPECT_TRUE(std::filesystem::exists(folder / "step-3.abandoned"));
  EXPECT_EQ(abandon_later_checkpoints(folder.path(), 1), 0);
}

TEST(CheckpointFolder, ReadsOnlyNamesOfItsOwnForm) {
  const TemporaryFolder folder;
  for (const char* name :
       {"step-.safetensors", "step-1x.safetensors", "step--2.safetensors.tmp", "step-7.safetensors.9.tmp",
        "best.safetensors", "step-5.safetensor", "Step-3.safetensors"})
    folder.file(name, "");
  folder.file("step-12.safetensors", "");
  EXPECT_EQ(steps_in(folder.path()), (std::vector<Index>{12}));
}

}  // namespace
}  // namespace exfusion::train
