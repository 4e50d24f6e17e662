#pragma once

#include <bit>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/mapped_file.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/io/gguf_cursor.hpp>
#include <exfusion/io/safetensors_header.hpp>

namespace exfusion::io {

/// An open GGUF file of version 2 or 3, mapped into memory. The constructor checks all but the numbers in the
/// tensors.
class GgufReader {
 public:
  /// Throws IoError when the file cannot be read, FormatError when it is damaged, or has tensors of other
  /// types than F32, F16 and BF16.
  explicit GgufReader(const std::filesystem::path& path) : path_(path.string()), file_(path) {
    detail::GgufCursor cursor(file_.bytes(), path_);
    for (const char letter : detail::gguf_magic) {
      if (cursor.number<char>() != letter) throw FormatError(path_, "is not a GGUF file");
    }
    const auto version = cursor.number<std::uint32_t>();
    if (version != 2 && version != 3) {
      throw FormatError(path_, "has version ", version,
                        version == std::uint32_t{3} << 24 ? " in big-endian order" : "",
                        ": 2 and 3 are read");
    }
    const auto tensor_count = cursor.number<std::uint64_t>(), key_count = cursor.number<std::uint64_t>();
    for (std::uint64_t i = 0; i < key_count; ++i) {
      std::string key = cursor.text();
      nlohmann::json value = cursor.value();
      if (!values_.emplace(key, std::move(value)).second)
        throw FormatError(path_, "has the key ", detail::printable(key), " twice");
    }
    for (std::uint64_t i = 0; i < tensor_count; ++i) read_info(cursor);
    place_data(cursor.place());
  }

  const std::string& path() const { return path_; }
  const std::map<std::string, nlohmann::json>& values() const { return values_; }
  bool contains(const std::string& tensor) const { return index_.contains(tensor); }
  /// Names of all tensors in the order of their data.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Info& info : infos_) all.push_back(info.name);
    return all;
  }

  /// A value. Throws FormatError when there is none of that key or `fits` does not hold for it.
  template <class Fits>
  const nlohmann::json& value(const std::string& key, const char* kind, const Fits& fits) const {
    const auto found = values_.find(key);
    if (found == values_.end()) throw FormatError(path_, "has no ", key);
    if (!fits(found->second)) throw FormatError(path_, key, " must be ", kind);
    return found->second;
  }
  Index integer(const std::string& key) const {
    return value(key, "a number below 2^31",
                 [](const auto& v) { return v.is_number_integer() && v >= 0 && v < (std::int64_t{1} << 31); })
        .template get<Index>();
  }
  double real(const std::string& key) const {
    return value(key, "a number", [](const auto& v) { return v.is_number(); }).template get<double>();
  }
  std::string text(const std::string& key) const {
    return value(key, "a text", [](const auto& v) { return v.is_string(); }).template get<std::string>();
  }

  /// The shape of a tensor, slowest axis first. Throws FormatError when there is none of that name.
  Shape shape(const std::string& name) const { return info(name).shape; }

  /// Fills `target`, of the tensor's shape. Throws FormatError when there is no such tensor or it has
  /// another.
  template <Scalar T>
  void read_into(const std::string& name, const Tensor<T>& target) const {
    const Info& stored = info(name);
    if (stored.shape != target.shape())
      throw FormatError(path_, name, " is ", stored.shape, ": ", target.shape(), " is needed");
    const std::byte* from = file_.bytes().data() + data_ + stored.offset;
    for (T& value : target.values()) {
      value = number_at<T>(stored.dtype, from);
      from += io::info(stored.dtype).bytes;
    }
  }

 private:
  struct Info {
    std::string name;
    Shape shape;
    Dtype dtype;
    std::uint64_t offset;
    std::uint64_t bytes;
  };

  template <Scalar T>
  static T number_at(Dtype dtype, const std::byte* from) {
    if (dtype == Dtype::F32) return static_cast<T>(load_unaligned<float>(from));
    if (dtype == Dtype::F16) return static_cast<T>(from_float16(load_unaligned<std::uint16_t>(from)));
    return static_cast<T>(static_cast<float>(load_unaligned<Bfloat16>(from)));
  }

  const Info& info(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) throw FormatError(path_, "there is no tensor ", detail::printable(name));
    return infos_[found->second];
  }

  void read_info(detail::GgufCursor& cursor) {
    Info tensor{.name = cursor.text(), .shape = {}, .dtype = Dtype::F32, .offset = 0, .bytes = 0};
    const std::string shown = detail::printable(tensor.name);
    if (tensor.name.size() > detail::gguf_longest_name)
      throw FormatError(path_, "has a tensor's name of ", tensor.name.size(), " bytes: 64 is the limit");
    const auto rank = cursor.number<std::uint32_t>();
    if (rank < 1 || rank > 4) throw FormatError(path_, shown, " has ", rank, " axes: 1 to 4 are read");
    Index axes[4] = {1, 1, 1, 1}, count = 1;
    for (std::uint32_t axis = rank; axis-- > 0;) {
      const auto extent = cursor.number<std::uint64_t>();
      if (extent > file_.bytes().size() ||
          __builtin_mul_overflow(count, static_cast<Index>(extent), &count) ||
          count > static_cast<Index>(file_.bytes().size()))
        throw FormatError(path_, shown, " is larger than the file");
      axes[axis] = static_cast<Index>(extent);
    }
    tensor.shape = rank == 1   ? Shape{axes[0]}
                   : rank == 2 ? Shape{axes[0], axes[1]}
                   : rank == 3 ? Shape{axes[0], axes[1], axes[2]}
                               : Shape{axes[0], axes[1], axes[2], axes[3]};
    const auto type = cursor.number<std::uint32_t>();
    const auto dtype = dtype_of_type(type);
    if (!dtype) throw FormatError(path_, shown, " is of type ", type, ": only F32, F16 and BF16 are read");
    tensor.dtype = *dtype;
    tensor.bytes = static_cast<std::uint64_t>(count) * io::info(*dtype).bytes;
    tensor.offset = cursor.number<std::uint64_t>();
    if (!index_.emplace(tensor.name, infos_.size()).second)
      throw FormatError(path_, "has the tensor ", shown, " twice");
    infos_.push_back(std::move(tensor));
  }

  static std::optional<Dtype> dtype_of_type(std::uint32_t type) {
    for (const Dtype dtype : {Dtype::F32, Dtype::F16, Dtype::BF16}) {
      if (detail::gguf_tensor_type(dtype) == type) return dtype;
    }
    return std::nullopt;
  }

  /// Checks that the tensors follow one another, padded to the alignment, up to the file's end.
  void place_data(std::uint64_t header_end) {
    std::uint64_t alignment = detail::gguf_alignment;
    if (values_.contains("general.alignment"))
      alignment = static_cast<std::uint64_t>(integer("general.alignment"));
    if (!std::has_single_bit(alignment) || alignment < 8 || alignment > (1U << 16))
      throw FormatError(path_, "general.alignment is ", alignment,
                        ": a power of two from 8 to 65536 is needed");
    data_ = detail::gguf_aligned(header_end, alignment);
    const std::uint64_t size = file_.bytes().size();
    std::uint64_t next = 0, end = infos_.empty() ? header_end : data_;
    for (const Info& tensor : infos_) {
      if (tensor.offset != next)
        throw FormatError(path_, detail::printable(tensor.name), " is at ", tensor.offset,
                          ": it must follow at ", next);
      end = data_ + tensor.offset + tensor.bytes;
      if (end > size)
        throw FormatError(path_, detail::printable(tensor.name), " ends at byte ", end, " of a file of ",
                          size);
      next = detail::gguf_aligned(tensor.offset + tensor.bytes, alignment);
    }
    if (size > detail::gguf_aligned(end, alignment))
      throw FormatError(path_, "has ", size - end, " bytes after its last tensor");
  }

  std::string path_;
  MappedFile file_;
  std::map<std::string, nlohmann::json> values_;
  std::vector<Info> infos_;
  std::map<std::string, std::size_t> index_;
  std::uint64_t data_ = 0;
};

}  // namespace exfusion::io
