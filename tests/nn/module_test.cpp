#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/nn/layer_norm.hpp>
#include <exfusion/nn/linear.hpp>
#include <exfusion/nn/module.hpp>
#include <exfusion/nn/rms_norm.hpp>

namespace exfusion {
namespace {

struct Block {
  Linear<float> up;
  LayerNorm<float> norm;
  static void fields(auto& self, auto&& visit) {
    visit("up", self.up);
    visit("norm", self.norm);
  }
};

struct Model {
  std::vector<Block> blocks;
  Parameter<float> table{Shape{3, 2}};
  static void fields(auto& self, auto&& visit) {
    visit("blocks", self.blocks);
    visit("table", self.table);
  }
};

struct Twice {
  Parameter<float> a{Shape{1}}, b{Shape{1}};
  static void fields(auto& self, auto&& visit) {
    visit("weight", self.a);
    visit("weight", self.b);
  }
};

struct TwiceThroughAPart {
  RmsNorm<float> norm{2};
  Parameter<float> other{Shape{1}};
  static void fields(auto& self, auto&& visit) {
    visit("norm", self.norm);
    visit("norm.weight", self.other);
  }
};

std::vector<std::string> names(const ParameterList<float>& list) {
  std::vector<std::string> result;
  for (const auto& parameter : list.parameters) result.push_back(parameter.name);
  return result;
}

Model two_blocks() {
  Rng rng(1);
  Model model;
  for (bool with_bias : {true, false}) {
    model.blocks.push_back({Linear<float>(2, 3, 0.1, rng, with_bias), LayerNorm<float>(3)});
  }
  return model;
}

TEST(Walk, BuildsDottedNamesInTheOrderOfFields) {
  EXPECT_EQ(names(collect_parameters<float>(two_blocks())),
            (std::vector<std::string>{"blocks.0.up.weight", "blocks.0.up.bias", "blocks.0.norm.weight",
                                      "blocks.0.norm.bias", "blocks.1.up.weight", "blocks.1.norm.weight",
                                      "blocks.1.norm.bias", "table"}));
}

TEST(Walk, RejectsAFieldNameThatOccursTwice) {
  try {
    collect_parameters<float>(Twice{});
    FAIL() << "two fields of one name were accepted";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "[walk] the field name 'weight' occurs twice");
  }
  EXPECT_THROW(collect_parameters<float>(TwiceThroughAPart{}), ConfigError);
}

TEST(Walk, StopsAtTheFieldsThatTheVisitorTakes) {
  std::vector<std::string> seen;
  const Model model = two_blocks();
  walk(model, [&](const std::string& name, const Linear<float>&) { seen.push_back(name); });
  EXPECT_EQ(seen, (std::vector<std::string>{"blocks.0.up", "blocks.1.up"}));
}

TEST(Walk, CountsParameters) {
  EXPECT_EQ(parameter_count<float>(two_blocks()), (6 + 3 + 3 + 3) + (6 + 3 + 3) + 6);
  EXPECT_EQ(exported_parameter_count<float>(two_blocks()), parameter_count<float>(two_blocks()));
}

TEST(Walk, GivesHandlesThatOutliveTheModel) {
  ParameterList<float> list;
  {
    const Model model = two_blocks();
    list = collect_parameters<float>(model);
  }
  EXPECT_EQ(list.parameters.at(2).tensor.values()[0], 1.0F);
}

TEST(Walk, CopiesOfAModelShareNothing) {
  const Model model = two_blocks();
  const Model copy = model;
  const auto first = collect_parameters<float>(model), second = collect_parameters<float>(copy);
  for (std::size_t i = 0; i < first.parameters.size(); ++i) {
    EXPECT_NE(first.parameters[i].tensor.data(), second.parameters[i].tensor.data());
  }
}

TEST(Norms, StartAsPlainNormalisation) {
  const Context<float> ctx;
  const auto x = Tensor<float>::from({1, 2}, {-3.0F, 3.0F});
  const auto layer = LayerNorm<float>(2)(ctx, x), rms = RmsNorm<float>(2)(ctx, x);
  for (Index i = 0; i < 2; ++i) {
    EXPECT_NEAR(layer.data()[i], x.data()[i] / 3, 1e-6F);
    EXPECT_NEAR(rms.data()[i], x.data()[i] / 3, 1e-6F);
  }
  EXPECT_EQ(LayerNorm<float>(2, 1e-12).eps, 1e-12);
}

}  // namespace
}  // namespace exfusion
