#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/train/training_state.hpp>

namespace exfusion::train {
namespace {

/// The error for a cursor whose `key` is `value`.
std::string error_with(const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = to_json(RunCursor{});
  json[key] = value;
  try {
    cursor_from_json(json, "file");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "none";
}

TEST(RunCursor, SurvivesJson) {
  const RunCursor cursor{.step = 7,
                         .rng = {std::numeric_limits<std::uint64_t>::max(), 5},
                         .data = {9, 100, 2, 37},
                         .loss_sum = 0.1,
                         .loss_steps = 3,
                         .validation_loss = 2.5,
                         .best_loss = 2.25,
                         .best_step = 6,
                         .evaluations_since_best = 1,
                         .measured_step = 5,
                         .bad_steps = 4,
                         .bad_steps_in_row = 2,
                         .lr_scale = 0.5,
                         .reloaded = true,
                         .seconds = 12.75};
  EXPECT_EQ(cursor_from_json(nlohmann::json::parse(to_json(cursor).dump()), "file"), cursor);
}

TEST(RunCursor, KeepsAnEvaluationThatWasNotFinite) {
  RunCursor cursor;
  cursor.validation_loss = std::numeric_limits<double>::quiet_NaN();
  const RunCursor read = cursor_from_json(nlohmann::json::parse(to_json(cursor).dump()), "file");
  EXPECT_TRUE(std::isnan(read.validation_loss));
}

TEST(RunCursor, RefusesNumbersThatAreNoIntegersOrDoNotFit) {
  for (const char* value : {"1.5", "7e300", "-7e300", "9223372036854775808", "true", "\"1\"", "[]"}) {
    EXPECT_EQ(
        error_with("step", nlohmann::json::parse(value)),
        "[file] the run's state has " + nlohmann::json::parse(value).dump() + " where an integer is needed");
  }
  EXPECT_EQ(error_with("rng", {-1, 0}), "[file] the run's state has -1 where an integer is needed");
  EXPECT_EQ(error_with("data", {1, 2, 2.5, 3}), "[file] the run's state has 2.5 where an integer is needed");
}

TEST(RunCursor, NamesWhatIsIncomplete) {
  EXPECT_NE(error_with("rng", {1}).find("the run's state is incomplete"), std::string::npos);
  EXPECT_NE(error_with("seconds", "1").find("the run's state is incomplete"), std::string::npos);
  EXPECT_NE(error_with("reloaded", 1).find("the run's state is incomplete"), std::string::npos);
}

}  // namespace
}  // namespace exfusion::train
