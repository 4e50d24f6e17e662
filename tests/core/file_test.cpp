#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/file.hpp>

#include "temporary_folder.hpp"

namespace exfusion {
namespace {

namespace fs = std::filesystem;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

mode_t mode(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777U;
}

TEST(File, IsReadBackAsItWasWritten) {
  const testing::TemporaryFolder folder;
  for (const std::string& content : {std::string(), std::string("a\0b\n", 4), std::string(100000, 'x')}) {
    write_file_atomically(folder / "file", content);
    EXPECT_EQ(read_file(folder / "file"), content);
    EXPECT_EQ(entries(folder.path()), 1U);
  }
}

TEST(File, IsWrittenInSeveralParts) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder / "file", [](auto& file) {
    for (const std::string part : {"one ", "two"}) file.write_all(std::as_bytes(std::span(part)));
  });
  EXPECT_EQ(read_file(folder / "file"), "one two");
}

TEST(File, KeepsItsOldContentWhenWritingFails) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder / "file", "old");
  const auto fail_half_way = [](auto& file) {
    const std::string part = "new, but only half of";
    file.write_all(std::as_bytes(std::span(part)));
    throw std::runtime_error("out of ideas");
  };
  EXPECT_THROW(write_file_atomically(folder / "file", fail_half_way), std::runtime_error);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(entries(folder.path()), 1U) << "the temporary file was left behind";
}

TEST(File, KeepsItsModeWhenItIsReplaced) {
  const testing::TemporaryFolder folder;
  for (mode_t wanted : {0600U, 0640U, 0755U}) {
    write_file_atomically(folder / "file", "old");
    ASSERT_EQ(::chmod((folder / "file").c_str(), wanted), 0);
    write_file_atomically(folder / "file", "new");
    EXPECT_EQ(mode(folder / "file"), wanted);
    EXPECT_EQ(read_file(folder / "file"), "new");
  }
}

TEST(File, FollowsTheUsersMaskWhenItIsNew) {
  const testing::TemporaryFolder folder;
  const mode_t kept = ::umask(027);
  write_file_atomically(folder / "file", "new");
  ::umask(kept);
  EXPECT_EQ(mode(folder / "file"), 0640U);
}

TEST(File, ThatCannotBePutInPlaceIsAnErrorThatNamesThePath) {
  const testing::TemporaryFolder folder;
  fs::create_directory(folder / "occupied");
  try {
    write_file_atomically(folder / "occupied", "content");
    FAIL() << "a folder was replaced by a file";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find((folder / "occupied").string()), std::string::npos);
  }
  EXPECT_TRUE(fs::is_directory(folder / "occupied"));
  EXPECT_EQ(entries(folder.path()), 1U);
  EXPECT_THROW(write_file_atomically(folder / "missing" / "file", "content"), IoError);
}

TEST(File, ThatCannotBeReadIsAnErrorThatNamesThePath) {
  const testing::TemporaryFolder folder;
  EXPECT_THROW(read_file(folder.path()), IoError);
  try {
    read_file(folder / "missing");
    FAIL() << "a missing file was read";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find((folder / "missing").string()), std::string::npos);
  }
}

TEST(File, WritesPastThePageCacheWhatAnOrdinaryWriteWould) {
  const testing::TemporaryFolder folder;
  Buffer<char> room(Index{8} << 20);  // begins on a page
  for (Index i = 0; i < room.size(); ++i) room[i] = static_cast<char>(i % 251);
  for (const Index before : {0, 100, 4096}) {
    for (const Index shift : {0, 7}) {
      for (const Index size : {0, 1, 4095, 4096, 4097, 5'000'000}) {
        const std::string_view head(room.data(), static_cast<std::size_t>(before));
        const std::string_view data(room.data() + shift, static_cast<std::size_t>(size));
        write_file_atomically(folder / "file", [&](detail::FileDescriptor& file) {
          file.write_all(std::as_bytes(std::span(head)));
          file.write_all_direct(std::as_bytes(std::span(data)));
          file.write_all(std::as_bytes(std::span(head)));
        });
        EXPECT_TRUE(read_file(folder / "file") == std::string(head) + std::string(data) + std::string(head))
            << before << ' ' << shift << ' ' << size;
      }
    }
  }
}

}  // namespace
}  // namespace exfusion
