#include <regex>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/core/file.hpp>
#include <exfusion/version.hpp>

namespace exfusion {
namespace {

const std::filesystem::path root = EXFUSION_SOURCE_DIR;
const std::string version = std::to_string(EXFUSION_VERSION_MAJOR) + '.' +
                            std::to_string(EXFUSION_VERSION_MINOR) + '.' +
                            std::to_string(EXFUSION_VERSION_PATCH);

/// What the first group of `pattern` matches in a file.
std::string stated(const std::filesystem::path& path, const char* pattern) {
  std::smatch match;
  const std::string text = read_file(path);
  return std::regex_search(text, match, std::regex(pattern)) ? match[1].str() : "nothing";
}

TEST(Version, IsTheSameWhereverItIsStated) {
  EXPECT_EQ(EXFUSION_PROJECT_VERSION, version);
  EXPECT_EQ(stated(root / "CITATION.cff", "\nversion: (\\S+)\n"), version);
  EXPECT_EQ(stated(root / "packaging/vcpkg/vcpkg.json", "\"version\": \"([^\"]+)\""), version);
  EXPECT_EQ(stated(root / "CHANGELOG.md", "\n## (\\S+)"), version);
}

TEST(Version, IsReadFromTheHeaderByConan) {
  const std::filesystem::path recipe = root / "packaging/conan/conanfile.py";
  EXPECT_EQ(stated(recipe, "\n( *version = [^\n]*)"), "nothing");
  EXPECT_NE(read_file(recipe).find("\"version.hpp\""), std::string::npos);
}

TEST(Version, IsInTheFilesForPkgConfig) {
  const std::filesystem::path folder = EXFUSION_BINARY_DIR;
  if (!std::filesystem::exists(folder / "exfusion.pc"))
    GTEST_SKIP() << "configured with EXFUSION_INSTALL=OFF";
  for (const char* name : {"exfusion.pc", "exfusion-io.pc", "exfusion-data.pc", "exfusion-train.pc"}) {
    EXPECT_EQ(stated(folder / name, "\nVersion: (\\S+)\n"), version) << name;
  }
}

}  // namespace
}  // namespace exfusion
