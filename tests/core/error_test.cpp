#include <cstdint>
#include <ios>
#include <stdexcept>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/shape.hpp>

namespace exfusion {
namespace {

TEST(Error, StreamsItsPartsOneAfterAnother) {
  const std::string name = "up.weight";
  const char* end = " end";
  EXPECT_STREQ(Error("linear").what(), "[linear] ");
  EXPECT_STREQ(
      Error("linear", "x is ", Shape{8, 63}, ": ", name, ' ', 0.5, std::string_view("!"), end).what(),
      "[linear] x is [8, 63]: up.weight 0.5! end");
}

TEST(Error, TakesManipulatorsAsStreamsDo) {
  EXPECT_STREQ(Error("file", "0x", std::hex, std::uint32_t{0x803}, " and 0x", 255, std::dec, ", ", 10).what(),
               "[file] 0x803 and 0xff, 10");
}

TEST(Error, IsCaughtAsWhatItIsAndAsItsBase) {
  EXPECT_THROW(throw ShapeError("add", "a is ", Shape{1}), ShapeError);
  EXPECT_THROW(throw IoError("file", "is not there"), Error);
  EXPECT_THROW(throw FormatError("file", 3), std::runtime_error);
}

}  // namespace
}  // namespace exfusion
