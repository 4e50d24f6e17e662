#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace exfusion::testing {

inline bool shows(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// How often `part` stands in `text`.
inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// Reads a page as strictly as XML: every element is closed in its order, attributes are in quotation marks,
/// < and & stand for themselves nowhere.
class WellFormedness {
 public:
  explicit WellFormedness(std::string_view page) : rest_(page) {
    if (rest_.starts_with("<!DOCTYPE html>")) rest_.remove_prefix(15);
    while (!rest_.empty() && error_.empty()) step();
    if (error_.empty() && !open_.empty()) error_ = "not closed: " + open_.back();
  }

  /// What is wrong first; empty when nothing is.
  const std::string& error() const { return error_; }
  /// How many elements there are of a name.
  int count(const std::string& name) const {
    int count = 0;
    for (const std::string& element : elements_) count += element == name ? 1 : 0;
    return count;
  }

 private:
  void step() {
    if (rest_.starts_with("</")) {
      close();
    } else if (rest_.front() == '<') {
      open();
    } else if (!open_.empty() && open_.back() == "style") {
      rest_.remove_prefix(std::min(rest_.find("</style>"), rest_.size()));
    } else {
      character();
    }
  }

  void fail(const std::string& what) { error_ = what + " before: " + std::string(rest_.substr(0, 80)); }

  void character() {
    if (rest_.front() == '&') {
      const std::string_view entity = rest_.substr(0, rest_.find(';'));
      if (entity.size() > 6 || entity == rest_) return fail("a bare &");
    }
    rest_.remove_prefix(1);
  }

  std::string name() {
    std::string result;
    while (!rest_.empty() &&
           (std::isalnum(static_cast<unsigned char>(rest_.front())) || rest_.front() == '-')) {
      result += rest_.front();
      rest_.remove_prefix(1);
    }
    return result;
  }

  void close() {
    rest_.remove_prefix(2);
    const std::string closed = name();
    if (open_.empty() || open_.back() != closed) return fail("</" + closed + "> closes nothing");
    if (!rest_.starts_with(">")) return fail("no > after </" + closed);
    rest_.remove_prefix(1);
    open_.pop_back();
  }

  void open() {
    rest_.remove_prefix(1);
    const std::string opened = name();
    if (opened.empty()) return fail("a bare <");
    elements_.push_back(opened);
    while (rest_.starts_with(" ") && error_.empty()) attribute();
    if (rest_.starts_with("/>")) {
      rest_.remove_prefix(2);
    } else if (rest_.starts_with(">")) {
      rest_.remove_prefix(1);
      open_.push_back(opened);
    } else if (error_.empty()) {
      fail("<" + opened + " does not end");
    }
  }

  void attribute() {
    rest_.remove_prefix(1);
    if (name().empty() || !rest_.starts_with("=\""))
      return fail("an attribute without name or quotation marks");
    rest_.remove_prefix(2);
    while (!rest_.empty() && rest_.front() != '"' && error_.empty()) {
      if (rest_.front() == '<') return fail("a < in an attribute");
      character();
    }
    if (!rest_.empty()) rest_.remove_prefix(1);
  }

  std::string_view rest_;
  std::vector<std::string> open_;
  std::vector<std::string> elements_;
  std::string error_;
};

}  // namespace exfusion::testing
