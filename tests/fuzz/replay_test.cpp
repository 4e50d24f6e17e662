#include <ostream>
#include <set>

#include <gtest/gtest.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>

#include "allocation_counter.hpp"
#include "fuzz_target.hpp"

namespace exfusion::fuzz {

/// How GoogleTest names a target.
void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

namespace {

namespace fs = std::filesystem;

const fs::path corpus = fs::path(EXFUSION_SOURCE_DIR) / "tests/fuzz/corpus";

class Replay : public ::testing::TestWithParam<Target> {};

TEST_P(Replay, EveryInputOfTheCorpusIsReadOrRefusedByAnErrorOfTheLibrary) {
  int read = 0, refused = 0;
  for (const auto& entry : fs::directory_iterator(corpus / GetParam().name)) {
    SCOPED_TRACE(entry.path().string());
    const std::string input = read_file(entry.path());
    allocation_limit = GetParam().constant_bytes + 4 * input.size();
    testing::largest_block = 0;
    try {
      GetParam().run(input);
      ++read;
    } catch (const Error&) {
      ++refused;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "another exception escaped: " << error.what();
    }
    EXPECT_LE(testing::largest_block, allocation_limit);
  }
  EXPECT_GT(read, 0) << "the corpus needs an input that is sound";
  EXPECT_GT(refused, 0) << "the corpus needs an input that is not";
}

INSTANTIATE_TEST_SUITE_P(Fuzz, Replay, ::testing::ValuesIn(targets()),
                         [](const auto& target) { return target.param.name; });

TEST(Replay, EveryFolderOfTheCorpusHasItsTarget) {
  std::set<std::string> folders, names;
  for (const auto& entry : fs::directory_iterator(corpus)) folders.insert(entry.path().filename().string());
  for (const Target& target : targets()) names.insert(target.name);
  EXPECT_EQ(folders, names);
}

}  // namespace
}  // namespace exfusion::fuzz
