#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/core/int_tensor.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/io/safetensors_header.hpp>

namespace exfusion::io {

/// An open safetensors file. The constructor checks the whole header against the file's size; tensors are
/// read one at a time.
class SafetensorsReader {
 public:
  /// Throws IoError when the file cannot be read, FormatError when it is not a valid safetensors file.
  explicit SafetensorsReader(const std::filesystem::path& path)
      : path_(path.string()), file_(path, O_RDONLY), header_(read_header()) {
    for (std::size_t i = 0; i < header_.tensors.size(); ++i) index_[header_.tensors[i].name] = i;
  }

  const std::string& path() const { return path_; }
  /// All tensors in the order of their data.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  bool contains(const std::string& name) const { return index_.contains(name); }

  /// Throws FormatError when there is no tensor of that name.
  const TensorInfo& tensor(const std::string& name) const {
    const auto place = index_.find(name);
    if (place == index_.end()) throw FormatError(path_, "there is no tensor ", detail::printable(name));
    return header_.tensors[place->second];
  }

  /// The shape of a tensor. Throws FormatError when there is none of that name or its rank is over 4.
  Shape shape(const std::string& name) const {
    const std::vector<Index>& axes = tensor(name).shape;
    switch (axes.size()) {
      case 0:
        return {};
      case 1:
        return {axes[0]};
      case 2:
        return {axes[0], axes[1]};
      case 3:
        return {axes[0], axes[1], axes[2]};
      case 4:
        return {axes[0], axes[1], axes[2], axes[3]};
      default:
        throw FormatError(path_, detail::printable(name), " has rank ", axes.size(), ": 4 is the limit");
    }
  }

  /// A tensor as stored, F64, F32, F16 or BF16 converted to `T` (exactly, or rounded to float).
  /// Throws FormatError when there is none of that name or it holds integers.
  template <Scalar T>
  Tensor<T> read(const std::string& name) const {
    const Shape found = shape(name);
    require_kind(name, true);
    Tensor<T> result = Tensor<T>::empty(found);
    read_values<T>(tensor(name), result.values());
    return result;
  }

  /// The same into the memory of `target`, which must have the stored shape (FormatError otherwise).
  template <Scalar T>
  void read_into(const std::string& name, const Tensor<T>& target) const {
    if (shape(name) != target.shape()) {
      throw FormatError(path_, detail::printable(name), " is ", shape(name), ": ", target.shape(),
                        " is needed");
    }
    require_kind(name, true);
    read_values<T>(tensor(name), target.values());
  }

  /// A tensor of integers of any width, or of BOOL. Throws FormatError when there is none of that name, when
  /// it is not of integers, or when a value does not fit 32 bits.
  IntTensor read_integers(const std::string& name) const {
    const Shape found = shape(name);
    require_kind(name, false);
    IntTensor result(found);
    const TensorInfo& stored = tensor(name);
    std::size_t done = 0;
    for_each_chunk(stored, [&](std::span<const std::byte> bytes) {
      for (std::size_t at = 0; at < bytes.size(); at += info(stored.dtype).bytes) {
        const std::int64_t value = integer_at(stored.dtype, bytes.data() + at);
        if (value != static_cast<std::int32_t>(value)) {
          throw FormatError(path_, detail::printable(name), " has the value ", value, ", beyond 32 bits");
        }
        result.values()[done++] = static_cast<std::int32_t>(value);
      }
    });
    return result;
  }

 private:
  SafetensorsHeader read_header() {
    const std::uint64_t file_bytes = file_.size();
    if (file_bytes < 8) throw FormatError(path_, "has ", file_bytes, " bytes: not a safetensors file");
    std::uint64_t header_bytes = 0;
    file_.read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
    const std::uint64_t limit = std::min(SafetensorsLimits::header_bytes, file_bytes - 8);
    if (header_bytes > limit) {
      throw FormatError(path_, "claims a header of ", header_bytes, " bytes: ", limit, " is the limit here");
    }
    std::string text(static_cast<std::size_t>(header_bytes), '\0');
    file_.read_at(8, std::as_writable_bytes(std::span(text)));
    data_begin_ = 8 + header_bytes;
    return parse_safetensors_header(path_, text, file_bytes - data_begin_);
  }

  void require_kind(const std::string& name, bool floating) const {
    const Dtype dtype = tensor(name).dtype;
    if (is_floating(dtype) == floating) return;
    throw FormatError(path_, detail::printable(name), " is of ", info(dtype).name, ": ",
                      floating ? "a floating-point" : "an integer", " dtype is needed");
  }

  template <Scalar T>
  void read_values(const TensorInfo& stored, std::span<T> values) const {
    if (stored.dtype == dtype_of<T>) {
      file_.read_at(data_begin_ + stored.begin, std::as_writable_bytes(values));
      return;
    }
    auto next = values.begin();
    for_each_chunk(stored, [&](std::span<const std::byte> bytes) {
      for (std::size_t at = 0; at < bytes.size(); at += info(stored.dtype).bytes) {
        *next++ = static_cast<T>(float_at(stored.dtype, bytes.data() + at));
      }
    });
  }

  template <class Use>
  void for_each_chunk(const TensorInfo& stored, const Use& use) const {
    constexpr std::uint64_t chunk_bytes = 1 << 20;
    std::vector<std::byte> chunk(static_cast<std::size_t>(std::min(chunk_bytes, stored.end - stored.begin)));
    for (std::uint64_t at = stored.begin; at < stored.end; at += chunk.size()) {
      const auto part = std::span(chunk).first(
          static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), stored.end - at)));
      file_.read_at(data_begin_ + at, part);
      use(std::span<const std::byte>(part));
    }
  }

  static double float_at(Dtype dtype, const std::byte* at) {
    switch (dtype) {
      case Dtype::F64:
        return load_unaligned<double>(at);
      case Dtype::F32:
        return load_unaligned<float>(at);
      case Dtype::F16:
        return from_float16(load_unaligned<std::uint16_t>(at));
      default:
        return static_cast<float>(load_unaligned<Bfloat16>(at));
    }
  }

  static std::int64_t integer_at(Dtype dtype, const std::byte* at) {
    switch (dtype) {
      case Dtype::I64:
        return load_unaligned<std::int64_t>(at);
      case Dtype::I32:
        return load_unaligned<std::int32_t>(at);
      case Dtype::I16:
        return load_unaligned<std::int16_t>(at);
      case Dtype::I8:
        return load_unaligned<std::int8_t>(at);
      default:
        return load_unaligned<std::uint8_t>(at);
    }
  }

  std::string path_;
  exfusion::detail::FileDescriptor file_;
  std::uint64_t data_begin_ = 0;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t> index_;
};

/// One tensor to write, or a place in a model to read one into.
template <Scalar T>
struct NamedTensor {
  std::string name;
  Tensor<T> tensor;
};

namespace detail {

/// The header of `tensors` in the order given, padded with spaces to a multiple of 8 bytes.
template <Scalar T>
std::string safetensors_header(const std::vector<NamedTensor<T>>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + nlohmann::json(metadata).dump();
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    auto axes = nlohmann::json::array();
    for (int i = 0; i < tensor.shape().rank(); ++i) axes.push_back(tensor.shape()[i]);
    const std::uint64_t end = offset + static_cast<std::uint64_t>(tensor.size()) * sizeof(T);
    if (text.size() > 1) text += ',';
    text += nlohmann::json(name).dump() + ":{\"dtype\":\"" + std::string(info(dtype_of<T>).name) +
            "\",\"shape\":" + axes.dump() + ",\"data_offsets\":[" + std::to_string(offset) + "," +
            std::to_string(end) + "]}";
    offset = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace detail

/// Writes tensors of floats as F32 (of doubles as F64), sorted by name, whole or not at all. Throws
/// ConfigError when names or metadata would not be accepted by the reader (too long, not UTF-8, twice),
/// IoError when the file cannot be written.
template <Scalar T>
void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor<T>> tensors,
                       const std::map<std::string, std::string>& metadata = {}) {
  std::ranges::sort(tensors, {}, &NamedTensor<T>::name);
  std::uint64_t data_bytes = 0;
  for (const auto& entry : tensors) data_bytes += static_cast<std::uint64_t>(entry.tensor.size()) * sizeof(T);
  std::string header;
  try {
    header = detail::safetensors_header(tensors, metadata);
    parse_safetensors_header(path.string(), header, data_bytes);
  } catch (const nlohmann::json::exception& error) {
    throw ConfigError(path.string(), "a name or the metadata cannot be written: ", error.what());
  } catch (const FormatError& error) {
    throw ConfigError("write_safetensors", "the result could not be read again: ", error.what());
  }
  write_file_atomically(path, [&](exfusion::detail::FileDescriptor& file) {
    const std::uint64_t header_bytes = header.size();
    file.write_all(std::as_bytes(std::span(&header_bytes, 1)));
    file.write_all(std::as_bytes(std::span(header)));
    for (const auto& entry : tensors) file.write_all(std::as_bytes(entry.tensor.values()));
  });
}

}  // namespace exfusion::io
