#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <exfusion/core/file.hpp>

namespace exfusion::testing {

/// A fenced block of a document.
struct MarkdownBlock {
  std::string document;  ///< Name of the file without its ending.
  int line = 0;          ///< Of the opening fence, from 1.
  std::string language;  ///< As the fence names it.
  std::string text;
  std::string frame;  ///< For fragments: the program around them; see `framed`.

  std::string place() const { return document + ".md:" + std::to_string(line); }

  /// The text, in its frame where it has one: the comment `<!-- around` before the block, which a page does
  /// not show, holds a program in which a line of three dots stands for the text.
  std::string framed() const {
    const std::string dots = "\n...\n";
    const std::size_t at = frame.find(dots);
    return at == std::string::npos ? text : frame.substr(0, at + 1) + text + frame.substr(at + dots.size());
  }
};

/// How a test shows its block.
inline void PrintTo(const MarkdownBlock& block, std::ostream* out) { *out << block.place(); }

inline std::vector<MarkdownBlock> blocks_of(const std::filesystem::path& path) {
  std::vector<MarkdownBlock> blocks;
  std::istringstream lines(read_file(path));
  std::string frame;
  int number = 0;
  const auto read_until = [&](const std::string& end) {
    std::string text;
    for (std::string line; std::getline(lines, line) && (++number, line != end);) text += line + '\n';
    return text;
  };
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line == "<!-- around") frame = read_until("-->");
    if (!line.starts_with("```")) continue;
    MarkdownBlock block{.document = path.stem().string(),
                        .line = number,
                        .language = line.substr(3),
                        .text = {},
                        .frame = frame};
    block.text = read_until("```");
    blocks.push_back(std::move(block));
    frame.clear();
  }
  return blocks;
}

/// README.md and the pages in docs, in order.
inline std::vector<std::filesystem::path> pages() {
  const std::filesystem::path source = EXFUSION_SOURCE_DIR;
  std::vector<std::filesystem::path> found{source / "README.md"};
  for (const auto& entry : std::filesystem::directory_iterator(source / "docs")) {
    if (entry.path().extension() == ".md") found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

/// All blocks in one language.
inline std::vector<MarkdownBlock> documented(const std::string& language) {
  std::vector<MarkdownBlock> chosen;
  for (const auto& page : pages()) {
    std::ranges::copy_if(blocks_of(page), std::back_inserter(chosen),
                         [&](const MarkdownBlock& block) { return block.language == language; });
  }
  return chosen;
}

}  // namespace exfusion::testing
