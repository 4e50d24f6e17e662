// The umbrella in two translation units of one program: everything in it must be inline, and with
// exfusion::compiled it must not parse Eigen.

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/exfusion.hpp>

#ifdef EIGEN_WORLD_VERSION
#error "exfusion.hpp includes Eigen although EXFUSION_COMPILED is set"
#endif

namespace exfusion {

Index parameters_seen_by_second_unit(const Gpt<float>& model);

namespace {

TEST(Umbrella, LinksFromTwoTranslationUnits) {
  Rng rng(1);
  const Gpt<float> model({.vocab_size = 5, .context = 4, .layers = 1, .heads = 1, .d_model = 4}, rng);
  EXPECT_EQ(parameters_seen_by_second_unit(model), parameter_count<float>(model));
}

TEST(Umbrella, IncludesEveryPublicHeader) {
  const std::filesystem::path include = EXFUSION_SOURCE_DIR "/include";
  std::stringstream umbrella;
  umbrella << std::ifstream(include / "exfusion/exfusion.hpp").rdbuf();
  const std::set<std::string> opt_in{"exfusion/core/file.hpp", "exfusion/core/mapped_file.hpp"};
  int headers = 0;
  for (const char* folder : {"core", "autograd", "ops", "nn", "optim", "models"}) {
    for (const auto& entry : std::filesystem::directory_iterator(include / "exfusion" / folder)) {
      const std::string name = std::filesystem::relative(entry.path(), include).generic_string();
      if (!name.ends_with(".hpp") || opt_in.contains(name)) continue;
      ++headers;
      EXPECT_NE(umbrella.str().find("#include <" + name + ">"), std::string::npos) << name;
    }
  }
  EXPECT_GT(headers, 50);
}

}  // namespace
}  // namespace exfusion
