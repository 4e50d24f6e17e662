#include <string>
#include <variant>

#include <gtest/gtest.h>

#include <exfusion/io/ffn_config.hpp>

namespace exfusion::io {
namespace {

/// Through text and back, as text again.
std::string again(const FfnConfig& config) {
  const std::string text = ffn_config(config).dump();
  const std::string read = ffn_config(read_ffn_config(JsonConfig("file", text))).dump();
  EXPECT_EQ(text, read);
  return read;
}

std::string error_of(nlohmann::json json, const std::string& key, const nlohmann::json& value) {
  json[key] = value;
  try {
    read_ffn_config(JsonConfig("file", json.dump()));
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(FfnConfig, SurvivesJson) {
  EXPECT_EQ(again(DenseFfnConfig{}), R"({"kind":"dense"})");
  again(SparseMoEOptions{.experts = 5, .k = 3, .balance = 0.1, .router_std = 0.3});
  again(FusedFfnConfig{.experts = 2, .rule = StaticFusionOptions{.weights = {0.1, 0.9}}});
  again(FusedFfnConfig{
      .experts = 3,
      .rule = LearnedFusionOptions{
          .form = LearnedForm::free, .granularity = FusionGranularity::row, .lr_multiplier = 0.1}});
  again(FusedFfnConfig{
      .experts = 7,
      .rule = MemoryBankFusionOptions{.value = BankValue::routed,
                                      .bank = {.memory = BankMemory::window, .beta = 0.7, .window = 9},
                                      .router_std = 0.5,
                                      .lr_multiplier = 3}});
}

TEST(FfnConfig, ReadsWhatWasWritten) {
  const FfnConfig config = read_ffn_config(JsonConfig(
      "file",
      R"({"kind":"fused","experts":3,"rule":"learned","form":"free","granularity":"matrix","lr_multiplier":2})"));
  const auto& fused = std::get<FusedFfnConfig>(config);
  EXPECT_EQ(fused.experts, 3);
  const auto& rule = std::get<LearnedFusionOptions>(fused.rule);
  EXPECT_EQ(rule.form, LearnedForm::free);
  EXPECT_EQ(rule.granularity, FusionGranularity::matrix);
  EXPECT_EQ(rule.lr_multiplier, 2);
}

TEST(FfnConfig, NamesWhatItDoesNotKnow) {
  const auto fused = ffn_config(FusedFfnConfig{});
  EXPECT_EQ(error_of(fused, "kind", "tree"), "[file] kind is \"tree\": it must be dense, fused or sparse");
  EXPECT_EQ(error_of(fused, "rule", "dice"),
            "[file] rule is \"dice\": it must be static, learned or memory_bank");
  EXPECT_EQ(error_of(fused, "memory", "short"),
            "[file] memory is \"short\": it must be one of moving_average, window");
  EXPECT_EQ(error_of(fused, "experts", nullptr), "[file] experts is missing");
  EXPECT_EQ(error_of(fused, "experts", 1.5), "[file] experts is 1.5: an integer below 2^63 is needed");
  const auto fixed = ffn_config(FusedFfnConfig{.rule = StaticFusionOptions{}});
  EXPECT_EQ(error_of(fixed, "weights", {"a"}), "[file] weights is [\"a\"]: a list of numbers is needed");
}

}  // namespace
}  // namespace exfusion::io
