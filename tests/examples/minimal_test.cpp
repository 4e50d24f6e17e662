#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/io/gpt2.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

double number_after(const std::string& text, const std::string& label) {
  const std::size_t at = text.find(label);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + label.size(), nullptr);
}

TEST(Minimal, TrainsAndLeavesAFolderThatLoads) {
  const testing::TemporaryFolder folder;
  const testing::ProgramResult result = testing::run_program(folder.path(), "minimal", {});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_LT(number_after(result.out, "step 200, loss"), number_after(result.out, "step 50, loss"));
  EXPECT_EQ(io::load_gpt2<float>(folder / "minimal-gpt2").config.layers, 2);
}

TEST(Minimal, StandsWholeInTheReadme) {
  const std::filesystem::path root = EXFUSION_SOURCE_DIR;
  const std::string program = read_file(root / "examples" / "minimal.cpp");
  EXPECT_NE(read_file(root / "README.md").find("```cpp\n" + program + "```\n"), std::string::npos);
}

}  // namespace
}  // namespace exfusion
