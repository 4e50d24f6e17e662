#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include <exfusion/core/file.hpp>
#include <exfusion/core/shape.hpp>

namespace exfusion::io {

/// Writes an array for NumPy (format 1.0, float32, row-major), whole or not at all: `produce(append)` calls
/// append(values) for one part after another. Throws IoError, ShapeError unless as many values come as the
/// shape has.
template <class Produce>
void write_npy(const std::filesystem::path& path, const Shape& shape, const Produce& produce) {
  static_assert(std::endian::native == std::endian::little, "the header says so");
  std::string axes;
  for (int axis = 0; axis < shape.rank(); ++axis) axes += std::to_string(shape[axis]) + ", ";
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + axes + "), }";
  constexpr std::size_t before = 10, alignment = 64;  // the magic, the version and the header's length
  header.append(alignment - (before + header.size() + 1) % alignment, ' ').append("\n");
  const auto length = static_cast<std::uint16_t>(header.size());
  std::string begin("\x93NUMPY\x01\x00", 8);
  begin += static_cast<char>(length & 0xFFU);
  begin += static_cast<char>(length >> 8U);
  begin += header;
  write_file_atomically(path, [&](exfusion::detail::FileDescriptor& file) {
    file.write_all(std::as_bytes(std::span(begin.data(), begin.size())));
    Index count = 0;
    produce([&](std::span<const float> values) {
      file.write_all(std::as_bytes(values));
      count += std::ssize(values);
    });
    if (count != shape.size()) throw ShapeError("npy", count, " values for an array of ", shape);
  });
}

}  // namespace exfusion::io
