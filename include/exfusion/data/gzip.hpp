#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include <zlib.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>

namespace exfusion::data {

/// Decompresses a gzip file piece by piece, never more than it is asked for. Needs zlib: programs link it
/// (ZLIB::ZLIB in CMake).
class GzipReader {
 public:
  /// Reads the compressed file. Throws IoError.
  explicit GzipReader(const std::filesystem::path& path) : where_(path.string()), content_(read_file(path)) {
    // zlib counts in 32 bits; the images this is for are a thousand times smaller.
    if (content_.size() > 0x7FFFFFFF) throw FormatError(where_, "is over 2 GiB compressed");
    stream_.next_in = reinterpret_cast<Bytef*>(content_.data());
    stream_.avail_in = static_cast<uInt>(content_.size());
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw Error(where_, "zlib does not start");
  }
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader() { inflateEnd(&stream_); }

  /// No more bytes than this can come out: deflate shrinks at most 1032 times.
  std::uint64_t most_bytes() const { return 1032 * static_cast<std::uint64_t>(content_.size()); }

  /// Throws FormatError when it is certain that `bytes` more cannot come out.
  void check_left(std::uint64_t bytes) const {
    if (bytes > most_bytes())
      throw FormatError(where_, "is too short for the ", bytes, " bytes it announces");
  }

  /// Fills `room`. Throws FormatError when the file is damaged or ends before.
  void read(std::span<std::byte> room) {
    while (!room.empty()) {
      const std::size_t got = inflate_some(room);
      if (got == 0) throw FormatError(where_, "ends too early: is it cut off?");
      room = room.subspan(got);
    }
  }

  /// Throws FormatError unless everything has been read, the checksum is right and nothing follows.
  void expect_end() {
    std::byte extra;
    if (!ended_ && inflate_some({&extra, 1}) > 0)
      throw FormatError(where_, "holds more than its header says");
    if (!ended_) throw FormatError(where_, "ends too early: is it cut off?");
    if (stream_.avail_in > 0)
      throw FormatError(where_, "has ", stream_.avail_in, " bytes after the compressed data");
  }

 private:
  /// Bytes written to `room`; 0 at the end of the compressed data or of the file.
  std::size_t inflate_some(std::span<std::byte> room) {
    constexpr std::size_t most = 1U << 30;
    const std::size_t wanted = std::min(room.size(), most);
    stream_.next_out = reinterpret_cast<Bytef*>(room.data());
    stream_.avail_out = static_cast<uInt>(wanted);
    const int status = ended_ ? Z_STREAM_END : inflate(&stream_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      throw FormatError(where_,
                        "is not a sound gzip file: ", stream_.msg != nullptr ? stream_.msg : "damaged");
    }
    ended_ = status == Z_STREAM_END;
    return wanted - stream_.avail_out;
  }

  std::string where_;
  std::string content_;
  z_stream stream_{};
  bool ended_ = false;
};

}  // namespace exfusion::data
