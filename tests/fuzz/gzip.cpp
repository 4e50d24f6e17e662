#include <array>

#include <exfusion/data/gzip.hpp>
#include <exfusion/data/idx.hpp>

#include "fuzz_target.hpp"

// A gzipped IDX file whose rank the first byte says. What deflate packs a thousandfold is not the size of the
// input: what really comes out counts for the limit, too. 64 KiB: zlib's window and tables.
EXFUSION_FUZZ_TARGET(gzip, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const int rank = 1 + static_cast<int>(fuzz::take_byte(input) % 3);
  const auto& path = file.holding(input);
  data::GzipReader bytes(path);
  try {
    for (std::array<std::byte, 1024> block; true; fuzz::allocation_limit += 4 * block.size())
      bytes.read(block);
  } catch (const FormatError&) {
  }
  data::detail::read_idx_with<data::GzipReader>(path, rank);
}
