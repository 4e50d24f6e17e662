// Every shell block in README.md and docs/ runs: those of one document one after the other, in a folder that
// has what their readers are taken to have. Only what would take long is made short: the programs get a limit
// of time, and the scripts that build and test everything are checked for being there.

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/data/png.hpp>

#include "markdown_blocks.hpp"
#include "shell.hpp"

namespace exfusion::testing {
namespace {

const std::filesystem::path source = EXFUSION_SOURCE_DIR;
const std::filesystem::path programs = EXFUSION_PROGRAM_DIR;

void make_executable(const TemporaryFolder& folder, const std::filesystem::path& name,
                     const std::string& script) {
  std::filesystem::create_directories((folder.path() / name).parent_path());
  folder.file(name, "#!/usr/bin/env bash\n" + script);
  std::filesystem::permissions(folder.path() / name, std::filesystem::perms::owner_all);
}

/// A path as a word of the shell.
std::string quoted(const std::filesystem::path& path) { return std::string("'").append(path).append("'"); }

/// The programs, in bin, where `build/release/bin` leads, too. Training ends after a second, as a run that
/// has reached a limit that its user gave, and has been evaluated after each step.
void add_programs(const TemporaryFolder& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(programs)) {
    const std::string name = entry.path().filename();
    if (name.ends_with("_test") || name.starts_with("bench_")) continue;
    std::string script = "exec ";
    script.append(quoted(entry.path())).append(" \"$@\"");
    if (name.starts_with("train_")) script += " --max-minutes 0.02 --eval-interval 1 --eval-batches 1";
    make_executable(folder, std::filesystem::path("bin") / name, script + '\n');
  }
  std::filesystem::create_directories(folder / "build/release");
  std::filesystem::create_directory_symlink(folder / "bin", folder / "build/release/bin");
}

/// The project's scripts: those that build or measure everything only say whether they exist, and so do
/// CMake's presets. Other builds are made, unoptimised.
void add_scripts(const TemporaryFolder& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(source / "scripts")) {
    const bool is_shell = entry.path().extension() == ".sh";
    std::string script = is_shell ? "exec bash -n " : "exec ";
    script.append(quoted(entry.path())).append(is_shell ? "\n" : " \"$@\"\n");
    make_executable(folder, std::filesystem::path("scripts") / entry.path().filename(), script);
  }
  std::string cmake =
      "if [[ \" $* \" != *' --preset '* ]]; then CMAKE_BUILD_TYPE=Debug CMAKE_GENERATOR=Ninja exec ";
  cmake.append(quoted(EXFUSION_CMAKE)).append(" \"$@\"; fi\n");
  cmake.append("while [ \"$1\" != --preset ]; do shift; done\n");
  cmake.append("exec grep -q '\"name\": \"'\"$2\"'\"' ")
      .append(quoted(source / "CMakePresets.json"))
      .append("\n");
  make_executable(folder, "bin/cmake", cmake);
  std::filesystem::create_directory_symlink(source, folder / "exfusion");
}

/// The files in a folder one after the other, as far as whole lines of them fill `most` bytes: enough, and
/// quick.
std::string text_in(const std::filesystem::path& folder, std::size_t most) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::string text;
  for (const auto& file : files) text += read_file(file);
  return text.size() <= most ? text : text.substr(0, text.rfind('\n', most) + 1);
}

/// Small pictures of two classes.
void add_pictures(const TemporaryFolder& folder) {
  std::vector<std::uint8_t> pixels(3 * 20 * 30);
  for (int i = 0; i < 60; ++i) {
    const bool is_cat = i % 2 == 0;
    std::ranges::fill(pixels, static_cast<std::uint8_t>(is_cat ? 4 * i : 255 - 4 * i));
    const std::filesystem::path name = std::filesystem::path("pictures") / (is_cat ? "cat" : "dog");
    std::filesystem::create_directories(folder.path() / name);
    folder.file(name / std::to_string(i).append(".png"), data::encode_png(pixels, 3, 20, 30));
  }
}

/// What the documents take a reader to have: this project's README.md, texts, a pretrained model, CIFAR-10,
/// pictures.
void add_data(const TemporaryFolder& folder) {
  const std::string headers = text_in(source / "include", 300'000), pages = text_in(source / "docs", 300'000);
  folder.file("book.txt", headers);
  folder.file("my_text.txt", headers);
  folder.file("other.txt", pages);
  folder.file("README.md", read_file(source / "README.md"));
  folder.file("main.cpp", R"(#if __has_include("exfusion_single.hpp")
#include "exfusion_single.hpp"
#else
#include <exfusion/exfusion.hpp>
#include <exfusion/io/gpt2.hpp>
#endif

int main() {
  exfusion::Rng rng(1);
  const exfusion::Gpt<float> model({.vocab_size = 3, .context = 2, .layers = 1, .heads = 1, .d_model = 4}, rng);
  exfusion::io::save_gpt2(model, "saved-by-main");
}
)");
  const ShellResult made = run_shell(
      folder,
      "bin/train_gpt --data other.txt --tokenizer bpe:512 --layers 1 --heads 2 --d-model 32 --context 64 "
      "--batch 4 --steps 2 --sample 1 --out gpt2");
  ASSERT_TRUE(made.succeeded) << made.output;
  add_pictures(folder);
  std::filesystem::create_directory(folder / "cifar");
  Rng rng(1);
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                           "data_batch_5.bin", "test_batch.bin"}) {
    std::string records;
    for (int i = 0; i < 40; ++i) {
      records += static_cast<char>(i % 10);
      for (int pixel = 0; pixel < 3 * 32 * 32; ++pixel) records += static_cast<char>(rng.below(256));
    }
    folder.file(std::string("cifar/") + name, records);
  }
}

std::set<std::string> documents_with_commands() {
  std::set<std::string> documents;
  for (const MarkdownBlock& block : documented("sh")) documents.insert(block.document);
  return documents;
}

class DocumentedCommands : public ::testing::TestWithParam<std::string> {};

TEST_P(DocumentedCommands, Run) {
  const TemporaryFolder folder;
  add_programs(folder);
  add_scripts(folder);
  ASSERT_NO_FATAL_FAILURE(add_data(folder));
  for (const MarkdownBlock& block : documented("sh")) {
    if (block.document != GetParam()) continue;
    const ShellResult run = run_shell(folder, "export PATH=\"$PWD/bin:$PATH\"\n" + block.text);
    ASSERT_TRUE(run.succeeded) << block.place() << " fails:\n" << block.text << '\n' << run.output;
  }
}

INSTANTIATE_TEST_SUITE_P(Documents, DocumentedCommands, ::testing::ValuesIn(documents_with_commands()),
                         [](const auto& document) { return document.param; });

}  // namespace
}  // namespace exfusion::testing
