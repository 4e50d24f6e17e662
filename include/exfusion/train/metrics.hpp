#pragma once

#include <algorithm>
#include <concepts>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <exfusion/core/file.hpp>
#include <exfusion/train/metric_json.hpp>

namespace exfusion::train {

namespace detail {

/// Names of all fields of training and validation rows: the columns of metrics.csv after `kind`.
inline std::vector<std::string> csv_columns() {
  std::vector<std::string> columns;
  const auto add = [&](const char* name, const auto&) {
    if (std::ranges::find(columns, name) == columns.end()) columns.emplace_back(name);
  };
  const TrainRow training;
  const ValidationRow validation;
  TrainRow::fields(training, add);
  ValidationRow::fields(validation, add);
  return columns;
}

inline std::string csv_header() {
  std::string header = "kind";
  for (const std::string& column : csv_columns()) header += "," + column;
  return header + "\n";
}

/// A training or validation row; an unknown or absent number is an empty cell.
inline std::string csv_line(const Json& row) {
  std::string line = row["kind"].get<std::string>();
  for (const std::string& column : csv_columns()) {
    const std::string cell = row.contains(column) ? row[column].dump() : "null";
    line += "," + (cell == "null" ? std::string() : cell);
  }
  return line + "\n";
}

inline bool is_csv_kind(std::string_view kind) {
  return kind == TrainRow::kind || kind == ValidationRow::kind;
}

/// A file that grows line by line, each by one write, so that a killed program leaves at most its last line
/// cut.
class LineFile {
 public:
  LineFile(const std::filesystem::path& path, int flags)
      : path_(path), file_(path, O_WRONLY | O_CREAT | O_APPEND | flags), bytes_(file_.size()) {}

  /// Appends `line`, which ends in a line feed. Throws IoError, and takes back what was written of the line.
  void append(std::string_view line) {
    try {
      file_.write_all(std::as_bytes(std::span(line)));
      bytes_ += line.size();
    } catch (const IoError&) {
      std::error_code ignored;
      std::filesystem::resize_file(path_, bytes_, ignored);
      throw;
    }
  }

 private:
  std::filesystem::path path_;
  exfusion::detail::FileDescriptor file_;
  std::uint64_t bytes_;
};

}  // namespace detail

/// Writes what a run measures to `metrics.jsonl`, a JSON object a line, and the training and validation rows
/// to `metrics.csv` too. Each row is in the files when `write` returns.
class MetricsWriter {
 public:
  enum Start {
    fresh,  ///< Replace the files of an earlier run.
    resume  ///< Go on after their last row; a line that was cut when the run was killed is dropped.
  };

  /// In `folder`, which must exist. Throws IoError when a file cannot be written; with `resume` FormatError
  /// too, when metrics.jsonl is damaged before its last line.
  MetricsWriter(const std::filesystem::path& folder, Start start)
      : rows_path_(folder / "metrics.jsonl"), table_path_(folder / "metrics.csv") {
    if (start == resume && std::filesystem::exists(rows_path_)) {
      truncate_to(std::numeric_limits<Index>::max());
    } else {
      open(O_TRUNC);
      table_->append(detail::csv_header());
    }
  }

  /// Appends one row. Numbers that are not finite become null. Throws IoError.
  template <class Row>
  void write(const Row& row) {
    const detail::Json json = to_json(row);
    rows_->append(line_of(json));
    if (detail::is_csv_kind(Row::kind)) table_->append(detail::csv_line(json));
  }

  /// Takes the rows after `step` out of both files, so that a run resumed there writes none twice. A row
  /// without a step, or an event, goes too when it comes after one that goes. Throws as the constructor.
  void truncate_to(Index step) {
    std::string rows, table = detail::csv_header();
    bool cut = false;
    for_each_metric(rows_path_, [&](const detail::Json& row, std::size_t) {
      const std::string kind = row["kind"].get<std::string>();
      const auto found = row.find("step");
      const bool has_step = found != row.end();
      if (has_step && !io::holds_integer<Index>(*found))
        throw std::runtime_error("step: an integer below 2^63 is needed");
      const bool goes = has_step ? found->get<Index>() > step : cut;
      cut = cut || goes;
      if (goes || (cut && kind == EventRow::kind)) return;
      rows += line_of(row);
      if (detail::is_csv_kind(kind)) table += detail::csv_line(row);
    });
    write_file_atomically(rows_path_, rows);
    write_file_atomically(table_path_, table);
    open(0);
  }

 private:
  static std::string line_of(const detail::Json& row) {
    return row.dump(-1, ' ', false, detail::Json::error_handler_t::replace) + "\n";
  }

  void open(int flags) {
    rows_.emplace(rows_path_, flags);
    table_.emplace(table_path_, flags);
  }

  std::filesystem::path rows_path_;
  std::filesystem::path table_path_;
  std::optional<detail::LineFile> rows_;
  std::optional<detail::LineFile> table_;
};

}  // namespace exfusion::train
