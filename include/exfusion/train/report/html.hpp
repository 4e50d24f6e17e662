#pragma once

#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/core/scalar.hpp>
#include <exfusion/train/report/style.hpp>
#include <exfusion/train/units.hpp>

// Pieces of HTML, as text. Everything that comes from a run passes through `escaped`.

namespace exfusion::train::report {

/// `text` as the content of an element or of an attribute in quotation marks.
inline std::string escaped(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default: {
        const bool control = static_cast<unsigned char>(c) < 32 || c == 127;
        result += control && c != '\n' && c != '\t' ? std::string_view("�") : std::string_view(&c, 1);
      }
    }
  }
  return result;
}

/// An element `name` with attributes and content; the content is HTML.
inline std::string element(std::string_view name, std::string_view attributes, std::string_view content) {
  std::string result = "<";
  result.append(name);
  if (!attributes.empty()) result.append(" ").append(attributes);
  return result.append(">").append(content).append("</").append(name).append(">");
}

/// A section under a heading; nothing when there is no content.
inline std::string section(std::string_view heading, std::string_view content) {
  if (content.empty()) return {};
  return element("section", "", element("h2", "", heading) + std::string(content)) + "\n";
}

/// Text as it is, line by line.
inline std::string preformatted(std::string_view text) {
  if (text.empty()) return {};
  return element("pre", "", std::string("\n").append(escaped(text)));  // a browser drops the first line feed
}

/// A number with `digits` digits that count: 0.01234, 1.5e-07; a dash where it is not known.
inline std::string number(double value, int digits = 4) {
  if (!std::isfinite(value)) return "–";
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

/// A number with `decimals` decimals; a dash where it is not known.
inline std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// 0.1234 as "12.34 %", which no line break parts.
inline std::string percent(double share, int decimals = 2) {
  return std::isfinite(share) ? fixed(100 * share, decimals) + "\xC2\xA0%" : number(share);
}

/// A measured value with about four digits: 24,312, 1.4697, 0.0123, 3.1e-5.
inline std::string value_text(double value) {
  if (std::abs(value) >= 1000 && std::abs(value) < 1e15) return with_commas(std::llround(value));
  if (value == 0 || std::abs(value) >= 1e-3) return number(value);
  std::string text = number(value, 3);
  if (const std::size_t zero = text.find("e-0"); zero != std::string::npos) text.erase(zero + 2, 1);
  return text;
}

/// A table whose first column is text and whose other columns are numbers. Cells are HTML.
inline std::string table(const std::vector<std::string>& head,
                         const std::vector<std::vector<std::string>>& rows) {
  std::string lines;
  for (const std::string& cell : head) lines += element("th", "scope=\"col\"", cell);
  lines = element("thead", "", element("tr", "", lines));
  std::string body;
  for (const auto& row : rows) {
    std::string cells;
    for (std::size_t i = 0; i < row.size(); ++i) {
      cells += i == 0 ? element("th", "scope=\"row\"", row[i]) : element("td", "", row[i]);
    }
    body += element("tr", "", cells) + "\n";
  }
  return element("div", "class=\"scroll\"", element("table", "", lines + element("tbody", "", body)));
}

/// A whole page that needs nothing else. `title` is text, `body` HTML.
inline std::string page(std::string_view title, std::string_view body) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
         "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
         "<link rel=\"icon\" href=\"data:,\"/>\n" +
         element("title", "", escaped(title)) + "\n" + element("style", "", style) + "\n</head>\n" +
         element("body", "", element("main", "", body)) + "\n</html>\n";
}

}  // namespace exfusion::train::report
