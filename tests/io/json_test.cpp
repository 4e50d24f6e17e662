#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include <exfusion/io/json.hpp>

namespace exfusion::io {
namespace {

std::string nested(std::size_t levels) { return std::string(levels, '[') + "1" + std::string(levels, ']'); }

TEST(ParseShallow, ReadsWhatIsNestedUpToTheLimit) {
  EXPECT_EQ(parse_shallow(R"({"a":[1,{"b":null}]})").dump(), R"({"a":[1,{"b":null}]})");
  EXPECT_EQ(parse_shallow<nlohmann::ordered_json>(R"({"b":1,"a":2})").dump(), R"({"b":1,"a":2})");
  EXPECT_EQ(parse_shallow(nested(16)).dump(), nested(16));
  EXPECT_EQ(parse_shallow("7"), 7);
}

TEST(ParseShallow, DiscardsWhatIsDeeperOrNotValid) {
  EXPECT_TRUE(parse_shallow(nested(17)).is_discarded());
  EXPECT_TRUE(parse_shallow(nested(1'000'000)).is_discarded());
  EXPECT_TRUE(parse_shallow("{\"a\":" + nested(16) + ",\"b\":1}").is_discarded());
  for (const char* text : {"", "{", "{\"a\":}", "1 2", "\"\xff\""})
    EXPECT_TRUE(parse_shallow(text).is_discarded());
}

TEST(HoldsInteger, IsTrueOfIntegersInTheRangeOfTheType) {
  const auto json = [](const char* text) { return nlohmann::json::parse(text); };
  EXPECT_TRUE(holds_integer<std::int64_t>(json("-9223372036854775808")));
  EXPECT_TRUE(holds_integer<std::int64_t>(json("9223372036854775807")));
  EXPECT_FALSE(holds_integer<std::int64_t>(json("9223372036854775808")));
  EXPECT_TRUE(holds_integer<std::uint64_t>(json("18446744073709551615")));
  EXPECT_FALSE(holds_integer<std::uint64_t>(json("-1")));
  for (const char* text : {"1.0", "1e3", "true", "null", "\"1\"", "[1]"})
    EXPECT_FALSE(holds_integer<std::int64_t>(json(text))) << text;
}

}  // namespace
}  // namespace exfusion::io
