#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/bfloat16.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/core/tensor.hpp>
#include <exfusion/io/narrow.hpp>

namespace exfusion::io {

/// Numbers that GGUF gives to the types of values.
enum class GgufType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

namespace detail {

inline constexpr std::string_view gguf_magic = "GGUF";
inline constexpr std::uint32_t gguf_version = 3;
inline constexpr std::uint64_t gguf_alignment = 32;
inline constexpr std::size_t gguf_longest_name = 64;

/// The number of a tensor's type in GGUF.
inline std::uint32_t gguf_tensor_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::F32:
      return 0;
    case Dtype::F16:
      return 1;
    case Dtype::BF16:
      return 30;
    default:
      throw ConfigError("gguf", "tensors of ", info(dtype).name, " cannot be written: F32, F16 and BF16 can");
  }
}

constexpr std::uint64_t gguf_aligned(std::uint64_t offset, std::uint64_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

}  // namespace detail

/// Gathers what a GGUF file (version 3) holds, then writes it. Keys and tensors stand in the order in which
/// they come.
template <Scalar T>
class GgufWriter {
 public:
  void add(std::string_view key, std::uint32_t value) {
    begin(key, GgufType::u32);
    append_number(keys_, value);
  }
  void add(std::string_view key, float value) {
    begin(key, GgufType::f32);
    append_number(keys_, value);
  }
  void add(std::string_view key, bool value) {
    begin(key, GgufType::boolean);
    keys_ += static_cast<char>(value ? 1 : 0);
  }
  void add(std::string_view key, std::string_view value) {
    begin(key, GgufType::string);
    append_text(keys_, value);
  }
  void add(std::string_view key, const char* value) { add(key, std::string_view(value)); }
  void add(std::string_view key, const std::vector<std::string>& values) {
    begin_array(key, GgufType::string, values.size());
    for (const std::string& value : values) append_text(keys_, value);
  }
  void add(std::string_view key, const std::vector<std::int32_t>& values) {
    begin_array(key, GgufType::i32, values.size());
    for (const std::int32_t value : values) append_number(keys_, value);
  }

  /// A tensor to be stored as `dtype`: F32, F16 or BF16. It must live until `write`. Throws ConfigError for a
  /// name over 64 bytes and any other dtype.
  void add(std::string name, const Tensor<T>& tensor, Dtype dtype) {
    if (name.size() > detail::gguf_longest_name)
      throw ConfigError("gguf", "the name ", name, " has ", name.size(), " bytes: 64 is the limit");
    append_text(infos_, name);
    const Shape& shape = tensor.shape();
    append_number(infos_, static_cast<std::uint32_t>(shape.rank()));
    for (int axis = shape.rank(); axis-- > 0;) append_number(infos_, static_cast<std::uint64_t>(shape[axis]));
    append_number(infos_, detail::gguf_tensor_type(dtype));
    append_number(infos_, offset_);
    offset_ = detail::gguf_aligned(offset_ + static_cast<std::uint64_t>(tensor.size()) * info(dtype).bytes,
                                   detail::gguf_alignment);
    tensors_.push_back({tensor, dtype});
  }

  /// Writes the file whole or not at all. Throws IoError, ConfigError when F16 cannot hold a weight.
  void write(const std::filesystem::path& path) const {
    std::string header(detail::gguf_magic);
    append_number(header, detail::gguf_version);
    append_number(header, static_cast<std::uint64_t>(tensors_.size()));
    append_number(header, key_count_);
    header += keys_;
    header += infos_;
    header.resize(detail::gguf_aligned(header.size(), detail::gguf_alignment));
    write_file_atomically(path, [&](exfusion::detail::FileDescriptor& file) {
      file.write_all(std::as_bytes(std::span(header)));
      for (const auto& [tensor, dtype] : tensors_) {
        auto bytes = narrowed<T>(tensor.values(), dtype);
        bytes.resize(detail::gguf_aligned(bytes.size(), detail::gguf_alignment));
        file.write_all(bytes);
      }
    });
  }

 private:
  template <class Number>
  static void append_number(std::string& to, Number number) {
    char bytes[sizeof number];
    std::memcpy(bytes, &number, sizeof number);
    to.append(bytes, sizeof number);
  }
  static void append_text(std::string& to, std::string_view text) {
    append_number(to, static_cast<std::uint64_t>(text.size()));
    to += text;
  }

  void begin(std::string_view key, GgufType type) {
    ++key_count_;
    append_text(keys_, key);
    append_number(keys_, static_cast<std::uint32_t>(type));
  }
  void begin_array(std::string_view key, GgufType type, std::size_t count) {
    begin(key, GgufType::array);
    append_number(keys_, static_cast<std::uint32_t>(type));
    append_number(keys_, static_cast<std::uint64_t>(count));
  }

  std::string keys_, infos_;
  std::uint64_t key_count_ = 0;
  std::uint64_t offset_ = 0;
  std::vector<std::pair<Tensor<T>, Dtype>> tensors_;
};

}  // namespace exfusion::io
