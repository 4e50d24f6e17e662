#pragma once

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
      : std::runtime_error(message(where, parts...)) {}

 private:
  template <class... Parts>
  static std::string message(std::string_view where, const Parts&... parts) {
    std::ostringstream text;
    text << '[' << where << "] ";
    (text << ... << parts);
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
