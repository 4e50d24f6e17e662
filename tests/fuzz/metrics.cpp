#include <exfusion/train/metric_json.hpp>
#include <exfusion/train/metrics.hpp>

#include "fuzz_target.hpp"

namespace {

using namespace exfusion::train;

/// Reads the row as whichever kind it is, and once more as it is written.
template <class... Rows>
void read_row(const detail::Json& json) {
  const auto read_as = [&]<class Row>(std::type_identity<Row>) {
    if (json["kind"] == Row::kind) row_from_json<Row>(to_json(row_from_json<Row>(json)));
  };
  (read_as(std::type_identity<Rows>()), ...);
}

}  // namespace

// 64 KiB: nodes of the documents, and lists that double as they grow.
EXFUSION_FUZZ_TARGET(metrics, 64 << 10) {
  static exfusion::fuzz::MemoryFile file;
  for_each_metric(file.holding(input), [](const detail::Json& json, std::size_t) {
    read_row<RunRow, TrainRow, ValidationRow, FusionRow, SampleRow, EventRow, ResultRow, ConfusionRow,
             ImagesRow>(json);
    detail::csv_line(json);
  });
}
