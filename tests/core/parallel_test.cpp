#include <atomic>
#include <mutex>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/parallel.hpp>
#include <exfusion/core/rng.hpp>

#include "support/ops.hpp"

namespace exfusion {
namespace {

TEST(ParallelFor, CoversEveryItemOnce) {
  for (Index count : {0, 1, 7, 64, 1000}) {
    for (Index grain : {1, 3, 64, 5000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      parallel_for(count, grain, [&](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      for (const auto& visit : visits) ASSERT_EQ(visit, 1) << count << " items, grain " << grain;
    }
  }
}

TEST(ParallelFor, HasRangesThatDoNotDependOnTheNumberOfThreads) {
  testing::expect_same_bits_for_all_thread_counts([] {
    std::set<std::pair<Index, Index>> ranges;
    std::mutex mutex;
    parallel_for(1003, 10, [&](Index begin, Index end) {
      const std::lock_guard lock(mutex);
      ranges.emplace(begin, end);
    });
    return std::vector(ranges.begin(), ranges.end());
  });
}

TEST(ParallelSum, IsTheSameToTheBitForAnyNumberOfThreads) {
  Rng rng(1);
  std::vector<float> values(1234567);
  rng.fill_normal(std::span<float>(values), 1e3, 1.0);
  for (Index smallest_range : {1, 100, 4096}) {
    testing::expect_same_bits_for_all_thread_counts([&] {
      const double sum = parallel_sum(
          static_cast<Index>(values.size()),
          [&](Index begin, Index end) {
            float part = 0;
            for (Index i = begin; i < end; ++i) part += values[static_cast<std::size_t>(i)];
            return part;
          },
          smallest_range);
      return std::vector{sum};
    });
  }
}

TEST(ParallelSum, AddsUpAllRanges) {
  for (Index count : {0, 1, 127, 128, 129, 4096, 4097, 1000003}) {
    const auto items = [](Index begin, Index end) { return end - begin; };
    EXPECT_EQ(parallel_sum(count, items), static_cast<double>(count));
    EXPECT_EQ(parallel_sum(count, items, 1), static_cast<double>(count));
  }
}

}  // namespace
}  // namespace exfusion
