#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <exfusion/io/folder_lock.hpp>

#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::TemporaryFolder;

TEST(FolderLock, IsHeldByOneAtATimeAndNamesTheHolder) {
  const TemporaryFolder folder;
  {
    const FolderLock lock(folder.path());
    try {
      const FolderLock second(folder.path());
      FAIL() << "two locks at once";
    } catch (const IoError& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(::getpid())), std::string::npos)
          << error.what();
      EXPECT_NE(std::string(error.what()).find(folder.path().string()), std::string::npos);
    }
  }
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

TEST(FolderLock, EndsWithTheProcessThatHeldIt) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path());
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(std::filesystem::exists(folder / ".lock"));
  EXPECT_NO_THROW(FolderLock(folder.path()));
}

TEST(FolderLock, MovesWithItsOwner) {
  const TemporaryFolder folder;
  FolderLock first(folder.path());
  const FolderLock second(std::move(first));
  EXPECT_THROW(FolderLock(folder.path()), IoError);
}

TEST(FolderLock, SaysThatAFolderIsMissing) { EXPECT_THROW(FolderLock("/nonexistent/folder"), IoError); }

}  // namespace
}  // namespace exfusion::io
