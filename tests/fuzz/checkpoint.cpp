#include <exfusion/io/checkpoint.hpp>
#include <exfusion/train/training_state.hpp>

#include "safetensors_input.hpp"

// A header that is put together gets its hash, without which no mutation would be read any further. 64 KiB:
// lists that double as they grow, and nodes of JSON documents.
EXFUSION_FUZZ_TARGET(checkpoint, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const auto sign = [](std::string& header) { io::detail::sign_header(header); };
  const io::CheckpointReader reader(file.holding(fuzz::safetensors_file(input, sign)));
  const train::RunCursor cursor = train::cursor_from_json(reader.info().state, reader.path());
  fuzz::expect(train::cursor_from_json(train::to_json(cursor), "again") == cursor, "the place survives");
  reader.verify();
  reader.check_fits({}, "model.");
}
