#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL  // NOLINT(readability-identifier-naming): xxHash's own names
#ifdef __AVX512F__
// As fast here, and g++ 12 warns of its own AVX-512 intrinsics.
#define XXH_VECTOR XXH_AVX2  // NOLINT(readability-identifier-naming)
#endif
#include <xxhash.h>

#include <exfusion/io/json.hpp>
#include <exfusion/io/safetensors_reader.hpp>
#include <exfusion/io/safetensors_writer.hpp>

namespace exfusion::io {

// A checkpoint is one safetensors file: arrays, and in the metadata what else a run needs to go on
// (docs/formats.md). Every array has an XXH3 hash in the metadata, the header has one of itself.

/// The version of this layout, apart from the library's own.
inline constexpr int checkpoint_version = 1;

/// One array of a run's state, where it lives: written from there and read into there.
struct CheckpointArray {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<Index> shape;
  std::span<std::byte> bytes;
};

/// What a checkpoint says beside its arrays.
struct CheckpointInfo {
  nlohmann::json config;  ///< The run's configuration.
  nlohmann::json state;   ///< Its place: step, random numbers, position in the data.
};

namespace detail {

inline constexpr std::string_view checkpoint_format = "exfusion-checkpoint";
inline constexpr std::string_view header_hash_key = "\"header_xxh3\":\"";
inline constexpr std::size_t hash_digits = 16;
inline constexpr std::size_t checkpoint_page = 4096;  ///< Where the data begin: on a page of their own.

inline std::string hash_text(std::uint64_t hash) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(hash_digits, '0');
  for (std::size_t i = hash_digits; i-- > 0; hash >>= 4) text[i] = digits[hash & 15];
  return text;
}

}  // namespace detail

/// The XXH3 hash (64 bits) of some bytes.
inline std::uint64_t xxh3(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

/// The same as 16 hexadecimal digits.
inline std::string xxh3_text(std::span<const std::byte> bytes) { return detail::hash_text(xxh3(bytes)); }

namespace detail {

/// Writes the header's hash into the header, over the digits that stand there; returns what stood there.
inline std::string sign_header(std::string& header) {
  const std::size_t key = header.find(header_hash_key);
  const std::size_t place = key + header_hash_key.size();
  if (key == std::string::npos || header.size() < place + hash_digits) return {};
  const std::string found = header.substr(place, hash_digits);
  header.replace(place, hash_digits, hash_digits, '0');
  header.replace(place, hash_digits, xxh3_text(std::as_bytes(std::span(header))));
  return found;
}

/// Whether no number has the exponent of infinity and NaN, whose bits are all set.
template <class Bits>
bool all_finite(std::span<const std::byte> bytes, Bits exponent) {
  bool found = false;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(Bits)) {
    found |= (load_unaligned<Bits>(bytes.data() + at) & exponent) == exponent;
  }
  return !found;
}

inline bool all_finite(Dtype dtype, std::span<const std::byte> bytes) {
  if (dtype == Dtype::F32) return all_finite<std::uint32_t>(bytes, 0x7f800000U);
  if (dtype == Dtype::F64) return all_finite<std::uint64_t>(bytes, 0x7ff0000000000000U);
  if (dtype == Dtype::BF16) return all_finite<std::uint16_t>(bytes, 0x7f80U);
  return true;
}

}  // namespace detail

/// The name of the first array with a number that is infinite or NaN; empty when there is none.
inline std::string first_not_finite(const std::vector<SafetensorsEntry>& entries) {
  for (const SafetensorsEntry& entry : entries) {
    if (!detail::all_finite(entry.dtype, entry.bytes)) return entry.name;
  }
  return {};
}

/// Writes a checkpoint whole or not at all, and flushed to the disk when this returns. Throws ConfigError
/// when a name occurs twice or is not UTF-8, IoError when the file cannot be written.
inline void write_checkpoint(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                             const CheckpointInfo& checkpoint) {
  sort_entries(entries);
  auto hashes = nlohmann::json::object();
  for (const SafetensorsEntry& entry : entries) hashes[entry.name] = xxh3_text(entry.bytes);
  std::string header = safetensors_header(entries,
                                          {{"format", std::string(detail::checkpoint_format)},
                                           {"format_version", std::to_string(checkpoint_version)},
                                           {"header_xxh3", std::string(detail::hash_digits, '0')},
                                           {"hashes", hashes.dump()},
                                           {"config", checkpoint.config.dump()},
                                           {"state", checkpoint.state.dump()}},
                                          detail::checkpoint_page);
  detail::sign_header(header);
  write_safetensors_file(path, header, entries);
}

/// Whether a safetensors file says that it is a checkpoint, of whatever version.
inline bool is_checkpoint(const SafetensorsReader& file) {
  const auto format = file.metadata().find("format");
  return format != file.metadata().end() && format->second == detail::checkpoint_format;
}

/// An open checkpoint.
class CheckpointReader {
 public:
  /// Throws IoError when the file cannot be read, FormatError when it is no checkpoint, of another version or
  /// its header is damaged. The arrays are checked by `verify`.
  explicit CheckpointReader(const std::filesystem::path& path) : reader_(path) {
    if (!is_checkpoint(reader_)) {
      throw FormatError(reader_.path(), "is a safetensors file, but no checkpoint of a training run");
    }
    if (const std::string version = metadata("format_version");
        version != std::to_string(checkpoint_version)) {
      throw FormatError(reader_.path(), "has the checkpoint format version ", detail::printable(version),
                        ": this program reads version ", checkpoint_version);
    }
    std::string header = reader_.header_text();
    const std::string found = detail::sign_header(header);
    if (found.empty() || header != reader_.header_text()) {
      throw FormatError(reader_.path(), "the header does not match its hash: the file is damaged");
    }
    hashes_ = parse("hashes");
    info_ = {.config = parse("config"), .state = parse("state")};
    check_hashes();
  }

  const std::string& path() const { return reader_.path(); }
  const CheckpointInfo& info() const { return info_; }
  const std::vector<TensorInfo>& tensors() const { return reader_.tensors(); }

  /// Reads every array and compares it with its hash. Throws FormatError naming the first that is damaged.
  void verify() const {
    for (const TensorInfo& tensor : reader_.tensors()) {
      XXH3_state_t state;
      XXH3_64bits_reset(&state);
      reader_.for_each_chunk(tensor.name, [&](std::span<const std::byte> bytes) {
        XXH3_64bits_update(&state, bytes.data(), bytes.size());
      });
      if (hashes_.at(tensor.name) == detail::hash_text(XXH3_64bits_digest(&state))) continue;
      throw FormatError(reader_.path(), detail::printable(tensor.name),
                        " does not match its hash: the file is damaged");
    }
  }

  /// Throws FormatError unless the file holds each of `arrays` with its dtype and shape, and nothing else
  /// whose name begins with `prefix`.
  void check_fits(const std::vector<CheckpointArray>& arrays, std::string_view prefix = "") const {
    std::set<std::string_view> wanted;
    for (const CheckpointArray& array : arrays) {
      wanted.insert(array.name);
      const TensorInfo& stored = reader_.tensor(array.name);
      if (stored.dtype == array.dtype && stored.shape == array.shape) continue;
      throw FormatError(reader_.path(), detail::printable(array.name), " is ",
                        shape_text(stored.dtype, stored.shape), ": this run has ",
                        shape_text(array.dtype, array.shape));
    }
    for (const TensorInfo& stored : reader_.tensors()) {
      if (!stored.name.starts_with(prefix) || wanted.contains(stored.name)) continue;
      throw FormatError(reader_.path(), "has ", detail::printable(stored.name), ", which this run has not");
    }
  }

  /// Fills all of `arrays`. Throws as `check_fits` does, and then changes nothing.
  void read_into(const std::vector<CheckpointArray>& arrays, std::string_view prefix = "") const {
    check_fits(arrays, prefix);
    for (const CheckpointArray& array : arrays) reader_.read_bytes(array.name, array.bytes);
  }

 private:
  std::string metadata(const std::string& key) const {
    const auto found = reader_.metadata().find(key);
    return found == reader_.metadata().end() ? std::string() : found->second;
  }

  nlohmann::json parse(const std::string& key) const {
    auto value = parse_shallow(metadata(key));
    if (value.is_object()) return value;
    throw FormatError(reader_.path(), "the metadata has no valid ", detail::printable(key));
  }

  void check_hashes() const {
    for (const TensorInfo& tensor : reader_.tensors()) {
      const auto hash = hashes_.find(tensor.name);
      if (hash != hashes_.end() && hash->is_string()) continue;
      throw FormatError(reader_.path(), detail::printable(tensor.name), " has no hash");
    }
  }

  static std::string shape_text(Dtype dtype, const std::vector<Index>& shape) {
    return std::string(exfusion::io::info(dtype).name) + ' ' + nlohmann::json(shape).dump();
  }

  SafetensorsReader reader_;
  nlohmann::json hashes_;
  CheckpointInfo info_;
};

}  // namespace exfusion::io
