#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace exfusion {

/// Parameters that an optimizer treats in a way of their own, chosen by name. The first group that fits a
/// name counts. Experts have one name for the whole slab, such as "blocks.0.ffn.experts".
struct ParameterGroup {
  /// Part of the name; with `*` (any run of characters) in it, a pattern for the whole name.
  std::string pattern;
  /// Multiplies the learning rate, as ParameterOptions::lr_multiplier does.
  double lr_multiplier = 1.0;
  /// Replaces the optimizer's weight decay where decay applies at all.
  std::optional<double> weight_decay = std::nullopt;

  bool fits(std::string_view name) const {
    if (pattern.find('*') == std::string::npos) return name.find(pattern) != std::string_view::npos;
    return fits(pattern, name);
  }

 private:
  static bool fits(std::string_view rest, std::string_view name) {
    const std::size_t literal = rest.find('*');
    if (literal == std::string_view::npos) return rest == name;
    if (name.substr(0, literal) != rest.substr(0, literal)) return false;
    for (std::size_t start = literal; start <= name.size(); ++start) {
      if (fits(rest.substr(literal + 1), name.substr(start))) return true;
    }
    return false;
  }
};

}  // namespace exfusion
