#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <exfusion/core/file.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/io/narrow.hpp>
#include <exfusion/io/safetensors_header.hpp>

namespace exfusion::io {

/// One tensor of a file by its bytes, which belong to somebody else.
struct SafetensorsEntry {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
};

/// One tensor to write, or a place in a model to read one into.
template <Scalar T>
struct NamedTensor {
  std::string name;
  Tensor<T> tensor;
};

/// Sorts entries into the order in which their data stand in a file: wide numbers first, so that all are
/// aligned, then by name.
inline void sort_entries(std::vector<SafetensorsEntry>& entries) {
  std::ranges::sort(entries, [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::forward_as_tuple(info(b.dtype).bytes, a.name) <
           std::forward_as_tuple(info(a.dtype).bytes, b.name);
  });
}

/// The header of `entries` in the order given, padded with spaces so that the data begin at a multiple of
/// `alignment` bytes, itself one of 8. Throws ConfigError when the reader would not accept it: a name or the
/// metadata too long or not UTF-8, a name twice, bytes that are not what the shape needs.
inline std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                                      const std::map<std::string, std::string>& metadata,
                                      std::size_t alignment = 8) {
  std::string text = "{";
  std::uint64_t offset = 0;
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata).dump();
    for (const SafetensorsEntry& entry : entries) {
      const std::uint64_t end = offset + entry.bytes.size();
      if (text.size() > 1) text += ',';
      text += nlohmann::json(entry.name).dump() + ":{\"dtype\":\"" + std::string(info(entry.dtype).name) +
              "\",\"shape\":" + nlohmann::json(entry.shape).dump() + ",\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(end) + "]}";
      offset = end;
    }
    text += '}';
    text.resize((8 + text.size() + alignment - 1) / alignment * alignment - 8, ' ');
    parse_safetensors_header("header", text, offset);
  } catch (const nlohmann::json::exception& error) {
    throw ConfigError("safetensors", "a name or the metadata cannot be written: ", error.what());
  } catch (const FormatError& error) {
    throw ConfigError("safetensors", "the result could not be read again: ", error.what());
  }
  return text;
}

/// Writes a file of this header and the entries' bytes, whole or not at all; entries that follow one another
/// in memory by one call. Throws IoError.
inline void write_safetensors_file(const std::filesystem::path& path, std::string_view header,
                                   const std::vector<SafetensorsEntry>& entries) {
  write_file_atomically(path, [&](exfusion::detail::FileDescriptor& file) {
    const std::uint64_t header_bytes = header.size();
    file.write_all(std::as_bytes(std::span(&header_bytes, 1)));
    file.write_all(std::as_bytes(std::span(header)));
    std::span<const std::byte> next;
    for (const SafetensorsEntry& entry : entries) {
      if (next.data() + next.size() != entry.bytes.data()) file.write_all_direct(std::exchange(next, {}));
      next = {next.empty() ? entry.bytes.data() : next.data(), next.size() + entry.bytes.size()};
    }
    file.write_all_direct(next);
  });
}

/// Writes tensors as F32, F16 or BF16, or as they are (floats as F32, doubles as F64), sorted by name, whole
/// or not at all. Throws ConfigError as `safetensors_header` and `narrowed` do and for another dtype, IoError
/// when the file cannot be written.
template <Scalar T>
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor<T>>& tensors,
                       const std::map<std::string, std::string>& metadata = {}, Dtype dtype = dtype_of<T>) {
  if (dtype != dtype_of<T> && dtype != Dtype::F32 && dtype != Dtype::F16 && dtype != Dtype::BF16)
    throw ConfigError("safetensors", "weights as ", info(dtype).name,
                      " cannot be written: F32, F16 and BF16 can");
  std::vector<SafetensorsEntry> entries;
  std::list<std::vector<std::byte>> converted;
  for (const auto& [name, tensor] : tensors) {
    const Shape& shape = tensor.shape();
    const std::span<const T> values = tensor.values();
    const bool as_it_is = dtype == dtype_of<T>;
    if (!as_it_is) converted.push_back(narrowed(values, dtype));
    entries.push_back(
        {name, dtype, {}, as_it_is ? std::as_bytes(values) : std::span<const std::byte>(converted.back())});
    for (int axis = 0; axis < shape.rank(); ++axis) entries.back().shape.push_back(shape[axis]);
  }
  sort_entries(entries);
  write_safetensors_file(path, safetensors_header(entries, metadata), entries);
}

}  // namespace exfusion::io
