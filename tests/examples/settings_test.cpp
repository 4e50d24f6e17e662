#include "../../examples/settings.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace exfusion::examples {
namespace {

/// A program's options, as far as both programs have them.
struct Program {
  CLI::App app;
  Options options;

  Program() {
    options.batch = 2;
    options.steps = 100;
    app.option_defaults()->always_capture_default()->multi_option_policy(last_wins);
    add_feed_forward_options(app, options);
    add_training_options(app, options);
    add_run_options(app, options, "tokens");
  }
};

/// The error for a configuration file of this content.
std::string error_of(const std::string& content) {
  Program program;
  try {
    read_config_text(program.app, content, "config.toml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(ReadConfigText, RefusesAValueThatCli11WouldTakeForZero) {
  for (const char* line : {"lr = \"\"\n", "lr = l1,, \n", "static-weights = [0.5,,0.5]\n"})
    EXPECT_NE(error_of(line).find("an empty value"), std::string::npos) << line << error_of(line);
}

TEST(ReadConfigText, RefusesSeveralValuesOfAnOptionThatTakesOne) {
  EXPECT_EQ(error_of("lr = [1, 2, 3]\n"), "[config.toml] gives 'lr' 3 values: it takes one");
  EXPECT_EQ(error_of("lr = 1\nlr = 2\n"), "[config.toml] gives 'lr' 2 values: it takes one");
  EXPECT_EQ(error_of("lr = 1\nema = 0.5\nlr = 2\n"), "[config.toml] has the key 'lr' twice");
  EXPECT_EQ(error_of("static-weights = [0.25, 0.75]\n"), "none");
}

TEST(SettingsToml, IsReadBackAsItWas) {
  Program program;
  program.options.out = "run";
  const Settings settings{
      {"lr", "0.001"}, {"static-weights", "0.25,0.75"}, {"compare", "a 'b', [c]"}, {"bf16-moments", "true"}};
  Program again;
  read_config_text(again.app, settings_toml(program.app, settings), "config.toml");
  EXPECT_EQ(again.options.lr, 0.001);
  EXPECT_EQ(again.options.static_weights, (std::vector{0.25, 0.75}));
  EXPECT_EQ(again.options.compare, "a 'b', [c]");
  EXPECT_TRUE(again.options.bf16_moments);
}

TEST(SettingsToml, RefusesATextThatCouldNotBeReadBack) {
  Program program;
  for (const char* text : {"a#b", "a\nb", "a \"b' c"})
    EXPECT_THROW(settings_toml(program.app, {{"compare", text}}), ConfigError) << text;
}

TEST(Settle, StepsFollowFromLargeBudgetsWithoutOverflow) {
  constexpr Index most = std::numeric_limits<Index>::max();
  const auto steps_for = [](Index tokens, Index batch, Index context) {
    Program program;
    program.options.max_items = tokens;
    program.options.batch = program.options.accumulate = batch;
    settle(program.app, program.options, "tokens", context);
    return program.options.steps;
  };
  EXPECT_EQ(steps_for(12, 2, 1), 3);
  EXPECT_EQ(steps_for(13, 2, 1), 4);
  EXPECT_EQ(steps_for(most, 2, 1), 100);
  EXPECT_EQ(steps_for(most, 1'000'000, 1 << 20), 9);
  EXPECT_EQ(steps_for(most, 1'000'000, most), 1);
}

}  // namespace
}  // namespace exfusion::examples
