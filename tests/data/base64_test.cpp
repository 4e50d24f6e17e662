#include <gtest/gtest.h>

#include <exfusion/data/base64.hpp>

namespace exfusion::data {
namespace {

TEST(Base64, GivesTheExamplesOfRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(Base64, TakesBytesOfAnyValue) {
  EXPECT_EQ(base64("\xFF\xFE\xFB"), "//77");
  EXPECT_EQ(base64(std::string(2, '\0')), "AAA=");
}

}  // namespace
}  // namespace exfusion::data
