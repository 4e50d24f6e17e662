#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include <exfusion/train/report/html.hpp>
#include <exfusion/train/report/read_metrics.hpp>

namespace exfusion::train::report {

/// One cell of the confusion matrix: darker the larger its share of the true class's images.
inline std::string confusion_cell(Index count, double share, const std::string& what) {
  if (count == 0) return element("td", "", "");
  std::string attributes = "title=\"" + escaped(what) + ": " + percent(share, 1) +
                           "\" style=\"background:rgb(var(--heat) / " + number(0.08 + 0.92 * share, 2) +
                           ")\"";
  if (share > 0.85) attributes += " class=\"strong\"";
  return element("td", attributes, std::to_string(count));
}

/// The confusion matrix as a heat map, a row for each true class, with the share that was right at its end.
inline std::string confusion_table(const ConfusionRow& row) {
  std::string head = element("th", "", element("small", "", "true ↓ taken for →"));
  for (const std::string& name : row.classes)
    head += element("th", "scope=\"col\"", element("span", "", escaped(name)));
  head += element("th", "scope=\"col\"", element("span", "", "right"));
  std::string body;
  for (std::size_t i = 0; i < row.classes.size(); ++i) {
    const double total = std::reduce(row.counts[i].begin(), row.counts[i].end(), 0.0);
    const auto share = [&](std::size_t k) { return static_cast<double>(row.counts[i][k]) / total; };
    std::string cells = element("th", "scope=\"row\"", escaped(row.classes[i]));
    for (std::size_t k = 0; k < row.classes.size(); ++k) {
      cells += confusion_cell(row.counts[i][k], share(k), row.classes[i] + " taken for " + row.classes[k]);
    }
    body += element("tr", "", cells + element("td", "", percent(share(i), 1))) + "\n";
  }
  return element(
      "div", "class=\"scroll heat\"",
      element("table", "", element("thead", "", element("tr", "", head)) + element("tbody", "", body)));
}

/// Shade over what the model looks at little: each cell of the grid the darker the smaller its attention
/// beside the largest.
inline std::string attention_shade(const GalleryImage& image) {
  constexpr std::size_t levels = 12;
  constexpr double darkest = 0.85;
  std::array<std::string, levels> cells;  // one path for all cells of a shade
  double most = 0;
  for (double share : image.attention) most = std::max(most, std::isfinite(share) ? share : 0);
  if (most == 0) return {};
  const auto grid = static_cast<std::size_t>(image.grid);
  for (std::size_t i = 0; i < image.attention.size(); ++i) {
    const double share = std::isfinite(image.attention[i]) ? std::max(0.0, image.attention[i]) / most : 0;
    const std::string column = std::to_string(i % grid), line = std::to_string(i / grid);
    const auto level = static_cast<std::size_t>(std::lround((levels - 1) * (1 - share)));
    cells[level].append("M").append(column).append(" ").append(line).append("h1v1h-1z");
  }
  std::string paths;
  for (std::size_t level = 1; level < levels; ++level) {
    if (cells[level].empty()) continue;
    const double shade = darkest * static_cast<double>(level) / (levels - 1);
    paths += element("path", "fill-opacity=\"" + number(shade, 2) + "\" d=\"" + cells[level] + "\"", "");
  }
  const std::string size = std::to_string(grid);
  return element("svg",
                 "viewBox=\"0 0 " + size + " " + size +
                     "\" preserveAspectRatio=\"none\" aria-hidden=\"true\" shape-rendering=\"crispEdges\"",
                 paths);
}

/// An image, the same under its attention, and what it was taken for.
inline std::string gallery_figure(const GalleryImage& image) {
  const std::string picture = "<img alt=\"" + escaped(image.label) + "\" src=\"data:image/png;base64," +
                              escaped(image.png) + "\" width=\"" + std::to_string(image.width) +
                              "\" height=\"" + std::to_string(image.height) + "\"/>";
  const std::string shade = attention_shade(image);
  std::string pictures = element("div", "", picture);
  if (!shade.empty()) pictures += element("div", "", picture + shade);
  const bool right = image.label == image.prediction;
  const std::string verdict = right ? element("span", "class=\"right\"", "✓ " + escaped(image.label))
                                    : element("span", "class=\"wrong\"", "✗ " + escaped(image.prediction)) +
                                          element("span", "class=\"soft\"", ", is " + escaped(image.label));
  return element(
      "figure", "",
      element("div", "class=\"pair\"", pictures) +
          element("p", "", verdict + " " + element("span", "class=\"soft\"", percent(image.probability, 1))));
}

inline std::string image_section(const RunMetrics& metrics) {
  std::string content;
  if (metrics.confusion) {
    content += element("h3", "",
                       "Confusion matrix " + element("small", "",
                                                     "images of the validation data after step " +
                                                         with_commas(metrics.confusion->step))) +
               confusion_table(*metrics.confusion);
  }
  if (metrics.images && !metrics.images->images.empty()) {
    std::string figures;
    for (const GalleryImage& image : metrics.images->images) figures += gallery_figure(image) + "\n";
    content +=
        element("h3", "", "Images after step " + with_commas(metrics.images->step)) +
        element("p", "class=\"soft\"",
                "Each image, and beside it what the model attends to (attention rollout: the brighter, the "
                "more); what it was taken for, and how probable the model held that.") +
        element("div", "class=\"gallery\"", figures);
  }
  return content;
}

}  // namespace exfusion::train::report
