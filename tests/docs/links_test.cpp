// Every link in README.md and docs/ to another file leads to one, and to a heading in it.

#include <algorithm>
#include <cctype>
#include <regex>
#include <sstream>

#include <gtest/gtest.h>

#include "markdown_blocks.hpp"

namespace exfusion::testing {
namespace {

/// The name under which a heading is linked to: small letters, digits and hyphens.
std::string anchor_of(const std::string& heading) {
  std::string anchor;
  for (const char c : heading) {
    if (c == ' ') anchor += '-';
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_')
      anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return anchor;
}

/// A page without its fenced blocks and their frames, in which brackets mean something else.
std::string prose_of(const std::filesystem::path& page) {
  std::string prose;
  std::istringstream lines(read_file(page));
  bool in_block = false, in_frame = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("<!-- around")) in_frame = true;
    if (line.starts_with("```")) in_block = !in_block;
    if (!in_block && !in_frame) prose += line + '\n';
    if (line == "-->") in_frame = false;
  }
  return prose;
}

std::vector<std::string> anchors_of(const std::filesystem::path& page) {
  std::vector<std::string> anchors;
  std::istringstream lines(prose_of(page));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) anchors.push_back(anchor_of(line.substr(line.find_first_not_of("# "))));
  }
  return anchors;
}

TEST(DocumentedLinks, LeadSomewhere) {
  const std::regex link(R"(\]\(([^)#]*)(?:#([^)]*))?\))");
  std::size_t links = 0;
  for (const std::filesystem::path& page : pages()) {
    const std::string text = prose_of(page);
    for (auto found = std::sregex_iterator(text.begin(), text.end(), link); found != std::sregex_iterator();
         ++found) {
      const std::string file = (*found)[1], anchor = (*found)[2];
      if (file.find(':') != std::string::npos) continue;
      ++links;
      const std::filesystem::path target = file.empty() ? page : page.parent_path() / file;
      ASSERT_TRUE(std::filesystem::exists(target)) << page << " leads to " << target;
      if (!anchor.empty()) {
        EXPECT_NE(std::ranges::count(anchors_of(target), anchor), 0) << page << ": no heading " << anchor;
      }
    }
  }
  EXPECT_GT(links, 30U);
}

}  // namespace
}  // namespace exfusion::testing
