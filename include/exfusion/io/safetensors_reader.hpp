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
#include <exfusion/core/mapped_file.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/io/safetensors_header.hpp>

namespace exfusion::io {

/// An open safetensors file. The constructor checks the whole header against the file's size; tensors are
/// read one at a time.
class SafetensorsReader {
 public:
  /// Throws IoError when the file cannot be read or mapped, FormatError when it is not a valid safetensors
  /// file.
  explicit SafetensorsReader(const std::filesystem::path& path)
      : path_(path.string()), file_(path, O_RDONLY), header_(read_header()), mapped_(file_) {
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

  /// A tensor's numbers where they lie in the file, which is mapped into memory: nothing is copied, and
  /// nothing read before it is looked at. Valid as long as the reader; the file must not be cut short
  /// meanwhile. Throws FormatError when there is none of that name, it is of another dtype than `T`, or does
  /// not lie at a multiple of `T`'s size (files whose header is not padded); IoError when the file cannot be
  /// mapped.
  template <Scalar T>
  std::span<const T> view(const std::string& name) const {
    const TensorInfo& stored = tensor(name);
    if (stored.dtype != dtype_of<T>) {
      throw FormatError(path_, detail::printable(name), " is of ", info(stored.dtype).name, ": a view of ",
                        info(dtype_of<T>).name, " needs that");
    }
    if ((data_begin_ + stored.begin) % sizeof(T) != 0) {
      throw FormatError(path_, detail::printable(name), " lies at byte ", data_begin_ + stored.begin,
                        ", no multiple of ", sizeof(T), ": it can only be read");
    }
    const auto bytes = mapped_.bytes().subspan(static_cast<std::size_t>(data_begin_ + stored.begin),
                                               static_cast<std::size_t>(stored.end - stored.begin));
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

  /// A tensor's bytes as stored. Throws FormatError when there is none of that name, or `room` has another
  /// size.
  void read_bytes(const std::string& name, std::span<std::byte> room) const {
    const TensorInfo& stored = tensor(name);
    if (stored.end - stored.begin != room.size()) {
      throw FormatError(path_, detail::printable(name), " has ", stored.end - stored.begin,
                        " bytes: ", room.size(), " are needed");
    }
    file_.read_at(data_begin_ + stored.begin, room);
  }

  /// The same piece by piece: calls `use(bytes)` for one part after another, in order.
  template <class Use>
  void for_each_chunk(const std::string& name, const Use& use) const {
    for_each_chunk(tensor(name), use);
  }

  /// The header's JSON with its padding, as it stands in the file.
  const std::string& header_text() const { return header_text_; }

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
    header_text_.resize(static_cast<std::size_t>(header_bytes));
    file_.read_at(8, std::as_writable_bytes(std::span(header_text_)));
    data_begin_ = 8 + header_bytes;
    return parse_safetensors_header(path_, header_text_, file_bytes - data_begin_);
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
  std::string header_text_;
  SafetensorsHeader header_;
  MappedFile mapped_;
  std::map<std::string, std::size_t> index_;
};

}  // namespace exfusion::io
