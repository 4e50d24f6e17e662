#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/utf8_stream.hpp>

namespace exfusion::data {
namespace {

const std::string text = "a\xC3\xA9\xE2\x82\xAC\xED\x9F\xBF\xE0\xA0\x80\xF0\x90\x8D\x88\xF4\x8F\xBF\xBFz";

/// Whether valid characters end at the end of `bytes`.
bool is_whole(std::string_view bytes) {
  char32_t value = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t length = detail::decode_utf8(bytes, at, value);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

TEST(Utf8Stream, ShowsCharactersWholeHoweverTheirBytesCome) {
  for (const std::size_t step : {1U, 2U, 3U, 5U}) {
    Utf8Stream stream;
    std::string shown;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const std::string part = stream.push(text.substr(at, step));
      EXPECT_TRUE(is_whole(part));
      shown += part;
    }
    EXPECT_EQ(shown, text);
    EXPECT_EQ(stream.finish(), "");
  }
}

TEST(Utf8Stream, ShowsACharacterWithItsLastByteAndNotLater) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("x\xE2"), "x");
  EXPECT_EQ(stream.push("\x82"), "");
  EXPECT_EQ(stream.push("\xAC"), "\xE2\x82\xAC");
}

TEST(Utf8Stream, LetsBytesThatAreNoCharacterPass) {
  for (const std::string& bytes :
       std::vector<std::string>{"\x80", "\xFF", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF5\x80",
                                "\xC3"
                                "a"}) {
    Utf8Stream stream;
    std::string shown;
    for (const char byte : bytes) shown += stream.push(std::string_view(&byte, 1));
    EXPECT_EQ(shown, bytes);
  }
}

TEST(Utf8Stream, GivesTheBeginningOfACharacterAtTheEnd) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("ab\xF0\x90\x8D"), "ab");
  EXPECT_EQ(stream.finish(), "\xF0\x90\x8D");
  EXPECT_EQ(stream.finish(), "");
}

}  // namespace
}  // namespace exfusion::data
