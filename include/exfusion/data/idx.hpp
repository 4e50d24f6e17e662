#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <ios>
#include <span>
#include <string>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/core/scalar.hpp>
#include <exfusion/data/gzip.hpp>

namespace exfusion::data {

/// An array of unsigned bytes of any rank; sizes outermost first.
struct IdxArray {
  std::vector<Index> sizes;
  std::vector<std::uint8_t> values;
};

namespace detail {

/// A plain file with the interface of GzipReader.
class PlainReader {
 public:
  explicit PlainReader(const std::filesystem::path& path)
      : where_(path.string()), file_(path, O_RDONLY), left_(file_.size()) {}

  std::uint64_t most_bytes() const { return left_; }
  void read(std::span<std::byte> room) {
    if (room.size() > left_) throw FormatError(where_, "ends inside its header");
    left_ -= file_.read_up_to(room);
  }
  /// Throws FormatError unless exactly `bytes` are left.
  void check_left(std::uint64_t bytes) const {
    if (left_ != bytes) {
      throw FormatError(where_, "holds ", left_, " bytes after its header, which announces ", bytes);
    }
  }
  void expect_end() const { check_left(0); }

 private:
  std::string where_;
  exfusion::detail::FileDescriptor file_;
  std::uint64_t left_;
};

template <class Reader>
std::uint32_t read_big_endian(Reader& reader) {
  std::array<std::uint8_t, 4> bytes;
  reader.read(std::as_writable_bytes(std::span(bytes)));
  std::uint32_t value = 0;
  for (std::uint8_t byte : bytes) value = (value << 8) | byte;
  return value;
}

/// The next `total` bytes. Memory grows with what has been read: what a gzip file holds is known only then.
template <class Reader>
std::vector<std::uint8_t> read_values(Reader& reader, std::uint64_t total) {
  constexpr std::uint64_t first = 32 << 10;
  std::vector<std::uint8_t> values;
  while (values.size() < total) {
    const std::size_t done = values.size();
    const auto next = static_cast<std::size_t>(std::min(total, std::max<std::uint64_t>(first, 2 * done)));
    values.reserve(next);
    values.resize(next);
    reader.read(std::as_writable_bytes(std::span(values).subspan(done)));
  }
  return values;
}

template <class Reader>
IdxArray read_idx_with(const std::filesystem::path& path, int rank) {
  const std::string where = path.string();
  Reader reader(path);
  const std::uint32_t magic = read_big_endian(reader), expected = 0x800U + static_cast<std::uint32_t>(rank);
  if (magic != expected) {
    throw FormatError(where, "begins with 0x", std::hex, magic, ": bytes with ", rank,
                      rank == 1 ? " axis" : " axes", " begin with 0x", expected);
  }
  IdxArray array;
  std::uint64_t total = 1;
  for (int axis = 0; axis < rank; ++axis) {
    const std::uint32_t size = read_big_endian(reader);
    array.sizes.push_back(size);
    if (size == 0) throw FormatError(where, "is empty: axis ", axis, " has the size 0");
    if (size > reader.most_bytes() / total) {
      throw FormatError(where, "is too short for its header: axis ", axis, " has the size ", size);
    }
    total *= size;
  }
  reader.check_left(total);
  array.values = read_values(reader, total);
  reader.expect_end();
  return array;
}

}  // namespace detail

/// Reads an IDX file of unsigned bytes with `rank` axes, gzipped when its name ends in .gz. Its header is
/// compared with its size before anything is allocated, and memory grows only with what is read. Throws
/// IoError when it cannot be read, FormatError when it is damaged, too short, too long or of another kind.
inline IdxArray read_idx(const std::filesystem::path& path, int rank) {
  if (path.extension() == ".gz") return detail::read_idx_with<GzipReader>(path, rank);
  return detail::read_idx_with<detail::PlainReader>(path, rank);
}

}  // namespace exfusion::data
