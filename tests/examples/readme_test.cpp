#include <gtest/gtest.h>

#include <exfusion/core/file.hpp>

namespace exfusion {
namespace {

const std::filesystem::path source_folder = EXFUSION_SOURCE_DIR;

// The program itself is built and run as an example.
TEST(Readme, ShowsTheMinimalProgramAsItIsBuilt) {
  const std::string readme = read_file(source_folder / "README.md");
  const std::string opening = "```cpp\n";
  const std::size_t begin = readme.find(opening) + opening.size();
  const std::size_t end = readme.find("```", begin);
  ASSERT_NE(end, std::string::npos);
  EXPECT_EQ(readme.substr(begin, end - begin), read_file(source_folder / "examples/minimal.cpp"));
}

}  // namespace
}  // namespace exfusion
