#include <algorithm>
#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/text_loader.hpp>

#include "allocation_counter.hpp"
#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

using Tokens = std::vector<std::int32_t>;

// Every token is its own position, so a window tells where it came from.
Tokens positions(Index count) {
  Tokens tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

Tokens starts(const TextBatch& batch) {
  Tokens result;
  const Index context = batch.tokens.shape()[1];
  for (Index row = 0; row < batch.tokens.shape()[0]; ++row)
    result.push_back(batch.tokens.data()[row * context]);
  return result;
}

Tokens copy(const TextBatch& batch) {
  const auto tokens = batch.tokens.values(), targets = batch.targets.values();
  Tokens result(tokens.begin(), tokens.end());
  result.insert(result.end(), targets.begin(), targets.end());
  return result;
}

TEST(TextLoader, TargetsAreTheTokensShiftedByOne) {
  const Tokens tokens = positions(100);
  TextLoader loader(tokens, {.batch = 3, .context = 7, .seed = 1});
  for (int step = 0; step < 20; ++step) {
    const TextBatch& batch = loader.next();
    ASSERT_EQ(batch.tokens.shape(), (Shape{3, 7}));
    ASSERT_EQ(batch.targets.shape(), (Shape{3, 7}));
    for (std::size_t i = 0; i < 21; ++i) {
      EXPECT_EQ(batch.targets.values()[i], batch.tokens.values()[i] + 1);
      EXPECT_EQ(batch.tokens.values()[i],
                batch.tokens.values()[i / 7 * 7] + static_cast<std::int32_t>(i % 7));
    }
  }
}

TEST(TextLoader, VisitsEveryWindowOnceInEachEpoch) {
  for (Index count : {9, 16, 17, 100, 1000}) {
    const Tokens tokens = positions(count);
    TextLoader loader(tokens, {.batch = 1, .context = 8, .seed = 5});
    std::set<std::int32_t> phases;
    for (int epoch = 0; epoch < 10; ++epoch) {
      Tokens seen;
      for (Index i = 0; i < loader.windows(); ++i) seen.push_back(starts(loader.next())[0]);
      std::ranges::sort(seen);
      phases.insert(seen[0]);
      for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_EQ(seen[i], seen[i - 1] + 8);
    }
    if (count >= 100) {
      EXPECT_GT(phases.size(), 3U) << "the offset does not change from epoch to epoch";
    }
  }
}

TEST(TextLoader, ShufflesDifferentlyInEachEpochAndForEachSeed) {
  const Tokens tokens = positions(1000);
  const auto epoch_order = [&](std::uint64_t seed, Index epoch) {
    TextLoader loader(tokens, {.batch = 50, .context = 10, .seed = seed});
    loader.set_state({seed, loader.windows(), epoch, 0});
    Tokens order = starts(loader.next());
    for (auto& start : order) start /= 10;
    return order;
  };
  EXPECT_EQ(epoch_order(1, 3), epoch_order(1, 3));
  EXPECT_NE(epoch_order(1, 3), epoch_order(1, 4));
  EXPECT_NE(epoch_order(1, 3), epoch_order(2, 3));
}

TEST(TextLoader, FillsABatchAcrossEpochsAndForTextsSmallerThanABatch) {
  const Tokens tokens = positions(9);
  TextLoader loader(tokens, {.batch = 5, .context = 4, .seed = 2});
  EXPECT_EQ(loader.windows(), 1);
  EXPECT_EQ(loader.next().tokens.shape(), (Shape{5, 4}));
  EXPECT_DOUBLE_EQ(loader.epochs(), 5.0);
}

TEST(TextLoader, ContinuesExactlyFromASavedPosition) {
  const Tokens tokens = positions(500);
  const TextLoaderOptions options{.batch = 4, .context = 9, .seed = 11};
  TextLoader straight(tokens, options);
  for (int step = 0; step < 60; ++step) {
    const LoaderState state = straight.state();
    TextLoader resumed(tokens, {.batch = 4, .context = 9, .seed = 999});
    resumed.set_state(state);
    EXPECT_EQ(resumed.state(), state);
    ASSERT_EQ(copy(straight.next()), copy(resumed.next())) << "step " << step;
    ASSERT_EQ(copy(straight.next()), copy(resumed.next())) << "step " << step;
    EXPECT_EQ(resumed.state(), straight.state());
  }
  EXPECT_GT(straight.epochs(), 2);
}

TEST(TextLoader, RefusesAPositionOfOtherData) {
  const Tokens tokens = positions(100), others = positions(200);
  TextLoader loader(tokens, {.batch = 2, .context = 8});
  const TextLoader other(others, {.batch = 2, .context = 8});
  EXPECT_EQ(message_of<ConfigError>([&] { loader.set_state(other.state()); }),
            "[loader] the saved position belongs to epochs of 23 items, but this data has 11");
  EXPECT_THROW(loader.set_state({0, 11, 0, 12}), ConfigError);
  EXPECT_THROW(loader.set_state({0, 11, 0, -1}), ConfigError);
  EXPECT_THROW(loader.set_state({0, 11, -1, 0}), ConfigError);
  EXPECT_NO_THROW(loader.set_state({0, 11, 0, 11}));
}

TEST(TextLoader, RefusesSizesThatCannotWork) {
  const Tokens tokens = positions(8);
  EXPECT_EQ(message_of<ConfigError>([&] { TextLoader(tokens, {.batch = 1, .context = 8}); }),
            "[text_loader] 8 tokens are too few: a context of 8 needs at least 9");
  EXPECT_THROW(TextLoader(tokens, {.batch = 0, .context = 4}), ConfigError);
  EXPECT_THROW(TextLoader(tokens, {.batch = 1, .context = 0}), ConfigError);
  EXPECT_THROW(TextBatches(tokens, 1, 8), ConfigError);
  EXPECT_THROW(TextBatches(tokens, 0, 4), ConfigError);
  EXPECT_THROW(TextBatches(std::span<const std::int32_t>(), 1, 1), ConfigError);
}

TEST(TextLoader, AllocatesNothingAfterConstruction) {
  const Tokens tokens = positions(100);
  TextLoader loader(tokens, {.batch = 4, .context = 8});
  const TextBatches batches(tokens, 5, 8);
  const long before = testing::allocation_count;
  for (int step = 0; step < 20; ++step) loader.next();
  for (Index i = 0; i < batches.size(); ++i) batches[i];
  EXPECT_EQ(testing::allocation_count, before);
}

TEST(TextBatches, PassOverAllWindowsInOrder) {
  for (Index count : {9, 40, 41, 42, 100}) {
    const Tokens tokens = positions(count);
    const TextBatches batches(tokens, 3, 8);
    EXPECT_EQ(batches.windows(), (count - 1) / 8);
    Index window = 0;
    for (Index i = 0; i < batches.size(); ++i) {
      const TextBatch& batch = batches[i];
      ASSERT_EQ(batch.tokens.shape(), batch.targets.shape());
      for (std::int32_t start : starts(batch)) EXPECT_EQ(start, 8 * window++);
      EXPECT_EQ(batch.targets.values().back(), 8 * window);
    }
    EXPECT_EQ(window, batches.windows());
    EXPECT_THROW(batches[batches.size()], ConfigError);
    EXPECT_THROW(batches[-1], ConfigError);
  }
}

}  // namespace
}  // namespace exfusion::data
