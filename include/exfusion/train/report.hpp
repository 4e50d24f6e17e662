#pragma once

#include <filesystem>
#include <string>

namespace exfusion::train {

struct ReportOptions {
  std::filesystem::path compare = {};
};

inline void write_report(const std::filesystem::path&, const ReportOptions&) {}

}  // namespace exfusion::train
