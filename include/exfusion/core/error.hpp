#pragma once

#include <bit>
#include <cstddef>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace exfusion {

/// Base of everything the library throws. The text names the operation, what was wrong and the limit:
/// `[linear] x is [8, 16, 63]: its last axis must be d_in = 64`.
class Error : public std::runtime_error {
 public:
  /// `where` is the operation or file at fault; `parts` are streamed one after another.
  template <class... Parts>
  explicit Error(std::string_view where, const Parts&... parts)
      : Error(where, std::initializer_list<Part>{part(parts)...}) {}

 private:
  /// Something that can be streamed, whatever its type: what puts messages together is compiled once then.
  struct Part {
    const void* value;
    void (*write)(std::ostream&, const void*);
  };

  Error(std::string_view where, std::initializer_list<Part> parts)
      : std::runtime_error(message(where, parts)) {}

  template <class T>
  static Part part(const T& value) {
    return {&value, [](std::ostream& text, const void* any) { text << *static_cast<const T*>(any); }};
  }
  template <std::size_t size>
  static Part part(const char (&characters)[size]) {
    return {characters, write_characters};
  }
  template <class Stream>
  static Part part(Stream& (&manipulator)(Stream&)) {  // std::hex
    return {std::bit_cast<const void*>(&manipulator),
            [](std::ostream& text, const void* any) { text << std::bit_cast<Stream& (*)(Stream&)>(any); }};
  }
  static void write_characters(std::ostream& text, const void* characters) {
    text << static_cast<const char*>(characters);
  }

  [[gnu::noinline]] static std::string message(std::string_view where, std::initializer_list<Part> parts) {
    std::ostringstream text;
    text << '[' << where << "] ";
    for (const Part& each : parts) each.write(text, each.value);
    return text.str();
  }
};

/// A tensor's shape does not fit the operation.
class ShapeError : public Error {
  using Error::Error;
};

/// An option or a combination of options that cannot work.
class ConfigError : public Error {
  using Error::Error;
};

/// A file's content breaks its format.
class FormatError : public Error {
  using Error::Error;
};

/// A number that training computed is infinite or NaN. A training loop can skip the step and go on.
class NotFiniteError : public Error {
  using Error::Error;
};

/// The operating system refused to read or write.
class IoError : public Error {
  using Error::Error;
};

}  // namespace exfusion
