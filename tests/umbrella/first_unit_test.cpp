// The umbrella in two translation units of one program: everything in it must be inline, and with
// exfusion::compiled it must not parse Eigen.

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

}  // namespace
}  // namespace exfusion
