// Every C++ block in README.md and docs/ compiles, links and runs.

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "markdown_blocks.hpp"
#include "shell.hpp"

namespace exfusion::testing {
namespace {

/// How the build compiled this file, up to the names of output and source.
std::string compiler_command() {
  const auto commands =
      nlohmann::json::parse(read_file(std::filesystem::path(EXFUSION_BINARY_DIR) / "compile_commands.json"));
  for (const auto& entry : commands) {
    const std::string file = entry.at("file"), command = entry.at("command");
    if (file.ends_with("tests/docs/programs_test.cpp")) return command.substr(0, command.find(" -o "));
  }
  throw std::runtime_error("compile_commands.json does not name this file");
}

class DocumentedProgram : public ::testing::TestWithParam<MarkdownBlock> {};

TEST_P(DocumentedProgram, CompilesAndRuns) {
  const MarkdownBlock& block = GetParam();
  const TemporaryFolder folder;
  folder.file("program.cpp", block.framed());
  folder.file("my_text.txt", read_file(std::filesystem::path(EXFUSION_SOURCE_DIR) / "README.md"));
  const ShellResult built =
      run_shell(folder, compiler_command() + " -O1 -o program program.cpp " EXFUSION_LINKED_FILES "\n");
  ASSERT_TRUE(built.succeeded) << block.place() << " does not compile:\n" << built.output;
  const ShellResult run = run_shell(folder, "./program\n");
  EXPECT_TRUE(run.succeeded) << block.place() << " fails:\n" << run.output;
}

INSTANTIATE_TEST_SUITE_P(Documents, DocumentedProgram, ::testing::ValuesIn(documented("cpp")),
                         [](const auto& document) {
                           return document.param.document + "_line_" + std::to_string(document.param.line);
                         });

}  // namespace
}  // namespace exfusion::testing
