#include <cstdint>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/arena.hpp>

namespace exfusion {
namespace {

TEST(Arena, HandsOutAlignedBlocksThatDoNotOverlap) {
  Arena arena;
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t bytes : {1U, 63U, 64U, 65U, 5000U, 3000000U, 0U, 17U}) {
    auto* block = static_cast<unsigned char*>(arena.allocate(bytes));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % storage_alignment, 0U);
    std::memset(block, static_cast<int>(blocks.size()), bytes);
    blocks.emplace_back(block, bytes);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t j = 0; j < blocks[i].second; ++j) ASSERT_EQ(blocks[i].first[j], i);
  }
}

TEST(Arena, GivesTheSameBlocksAgainAfterReset) {
  Arena arena;
  const std::vector<std::size_t> sizes{100, 2000000, 64, 3000000, 7};
  std::vector<void*> first, second;
  for (auto size : sizes) first.push_back(arena.allocate(size));
  arena.reset();  // the chunks' sizes follow from the first pass
  const std::size_t reserved = arena.reserved_bytes();
  for (auto size : sizes) second.push_back(arena.allocate(size));
  EXPECT_EQ(first, second);
  EXPECT_EQ(arena.reserved_bytes(), reserved);
}

TEST(Arena, ReusesAReleasedBlockForTheSameRoundedSizeOnly) {
  Arena arena;
  void* block = arena.allocate(100);
  arena.release(block, 100);
  EXPECT_NE(arena.allocate(300), block);
  EXPECT_EQ(arena.allocate(128), block);
  EXPECT_NE(arena.allocate(128), block);
}

TEST(Arena, ForgetsReleasedBlocksAtReset) {
  Arena arena;
  arena.allocate(64);
  void* block = arena.allocate(100);
  arena.release(block, 100);
  arena.reset();
  std::set<void*> blocks;
  for (int i = 0; i < 4; ++i) blocks.insert(arena.allocate(100));
  EXPECT_EQ(blocks.size(), 4U);
}

TEST(Arena, CountsTheMostBytesOfDistinctBlocksBetweenTwoResets) {
  Arena arena;
  EXPECT_EQ(arena.peak_bytes(), 0U);
  void* block = arena.allocate(100);
  arena.allocate(64);
  EXPECT_EQ(arena.peak_bytes(), 128U + 64U);
  arena.release(block, 100);
  arena.allocate(128);
  EXPECT_EQ(arena.peak_bytes(), 128U + 64U);
  arena.reset();
  arena.allocate(128);
  EXPECT_EQ(arena.peak_bytes(), 128U + 64U);
  arena.allocate(3000000);
  EXPECT_EQ(arena.peak_bytes(), 128U + 3000000U);
}

TEST(Arena, RefusesSizesThatOverflow) {
  Arena arena;
  EXPECT_THROW(arena.allocate(std::numeric_limits<std::size_t>::max() - 3), std::bad_alloc);
  EXPECT_THROW(arena.allocate_array<float>(-1), std::bad_alloc);
  EXPECT_EQ(arena.reserved_bytes(), 0U);
}

}  // namespace
}  // namespace exfusion
