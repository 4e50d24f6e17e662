#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <exfusion/core/error.hpp>
#include <exfusion/io/dtype.hpp>

namespace exfusion::io {

/// One tensor of a safetensors file: where its bytes stand, relative to the start of the data.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<Index> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  /// Number of elements.
  Index size() const { return static_cast<Index>((end - begin) / info(dtype).bytes); }
};

/// What a safetensors header says: the tensors in the order of their data, and free metadata.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

/// The limits of a header that is accepted.
struct SafetensorsLimits {
  static constexpr std::uint64_t header_bytes = 100'000'000;
  static constexpr std::size_t tensors = 1'000'000;
  static constexpr std::size_t name_bytes = 1024;
  static constexpr std::size_t rank = 8;
};

namespace detail {

/// A name out of a file made fit for an error message: quoted, escaped, short.
inline std::string printable(std::string_view name) {
  constexpr std::size_t longest = 100;
  const std::string shown(name.substr(0, longest));
  return nlohmann::json(shown).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) +
         (name.size() > longest ? "..." : "");
}

/// Reads the header's JSON event by event. A document tree would hide duplicate keys and allow any nesting;
/// here everything that the format does not provide for is refused where it stands.
class SafetensorsSax final : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsSax(std::string file, SafetensorsHeader& header) : file_(std::move(file)), header_(header) {}

  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a boolean"); }
  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    refuse("a number that is not an integer below 2^64");
  }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::shape && place_ != Place::offsets) refuse("a number");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
      fail("has the number ", value, ", over 2^63 - 1");
    }
    if (place_ == Place::shape) {
      if (tensor_.shape.size() == SafetensorsLimits::rank) fail("has a rank over ", SafetensorsLimits::rank);
      tensor_.shape.push_back(static_cast<Index>(value));
    } else {
      if (offsets_.size() == 2) fail("has more than two data_offsets");
      offsets_.push_back(value);
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      header_.metadata[key_] = value;
    } else if (place_ == Place::entry && key_ == "dtype") {
      const auto dtype = dtype_named(value);
      if (!dtype) fail("has dtype ", printable(value), ", which cannot be read");
      tensor_.dtype = *dtype;
    } else {
      refuse("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = key_ == "__metadata__" ? Place::metadata : Place::entry;
      if (place_ == Place::entry && header_.tensors.size() == SafetensorsLimits::tensors) {
        throw FormatError(file_, "more than ", SafetensorsLimits::tensors, " tensors");
      }
      tensor_ = {key_, Dtype::F32, {}, 0, 0};
      offsets_.clear();
      fields_.clear();
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (place_ == Place::top) {
      check_name(value);
      if (!names_.insert(value).second)
        throw FormatError(file_, "the name ", printable(value), " occurs twice");
    } else {
      if (place_ == Place::entry && value != "dtype" && value != "shape" && value != "data_offsets") {
        fail("has the unknown field ", printable(value));
      }
      if (!fields_.insert(value).second) fail("has ", printable(value), " twice");
    }
    key_ = value;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::entry) {
      if (fields_.size() != 3) fail("lacks one of dtype, shape and data_offsets");
      std::tie(tensor_.begin, tensor_.end) = std::pair(offsets_[0], offsets_[1]);
      header_.tensors.push_back(std::move(tensor_));
    }
    place_ = place_ == Place::top ? Place::end : Place::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::entry || key_ == "dtype") refuse("an array");
    place_ = key_ == "shape" ? Place::shape : Place::offsets;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offsets && offsets_.size() != 2) fail("has fewer than two data_offsets");
    place_ = Place::entry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw FormatError(file_, "the header is not valid JSON (byte ", position, " of it)");
  }

 private:
  enum class Place { start, top, metadata, entry, shape, offsets, end };

  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    const bool in_metadata = place_ == Place::metadata;
    throw FormatError(file_, in_metadata ? "__metadata__" : "the tensor " + printable(tensor_.name), ' ',
                      parts...);
  }

  [[noreturn]] void refuse(const char* what) const {
    if (place_ == Place::start) throw FormatError(file_, "the header is ", what, ", not an object");
    if (place_ == Place::top) throw FormatError(file_, printable(key_), " is ", what, ", not an object");
    fail("has ", what, " where ", printable(key_), " does not allow it");
  }

  void check_name(const std::string& name) const {
    if (name.size() > SafetensorsLimits::name_bytes) {
      throw FormatError(file_, "a tensor's name has ", name.size(), " bytes: ", SafetensorsLimits::name_bytes,
                        " is the limit");
    }
    if (std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
      throw FormatError(file_, "the name ", printable(name), " has control characters");
    }
  }

  std::string file_;
  SafetensorsHeader& header_;
  Place place_ = Place::start;
  std::string key_;
  TensorInfo tensor_;
  std::vector<std::uint64_t> offsets_;
  std::set<std::string> fields_;
  std::set<std::string> names_;
};

/// Bytes of a tensor of this shape. Throws FormatError when the product overflows.
inline std::uint64_t checked_bytes(const std::string& file, const TensorInfo& tensor) {
  std::uint64_t bytes = info(tensor.dtype).bytes;
  for (const Index axis : tensor.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(axis), &bytes)) {
      throw FormatError(file, "the shape of ", printable(tensor.name), " has more than 2^64 bytes");
    }
  }
  return bytes;
}

/// Sorts the tensors by offset and checks that they fill `data_bytes` without hole or overlap, each with the
/// bytes that its shape needs.
inline void check_layout(const std::string& file, std::vector<TensorInfo>& tensors,
                         std::uint64_t data_bytes) {
  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t expected = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::string name = printable(tensor.name);
    if (tensor.begin != expected) {
      throw FormatError(file, name, " begins at byte ", tensor.begin, " of the data, not at ", expected,
                        " where the tensor before it ends");
    }
    const std::uint64_t bytes = checked_bytes(file, tensor);
    if (tensor.end < tensor.begin || tensor.end - tensor.begin != bytes) {
      throw FormatError(file, name, " spans bytes ", tensor.begin, " to ", tensor.end,
                        ", but its shape needs ", bytes);
    }
    expected = tensor.end;
  }
  if (expected != data_bytes) {
    throw FormatError(file, "the tensors fill ", expected, " bytes, but the file holds ", data_bytes,
                      " bytes of data: it is truncated or has trailing bytes");
  }
}

}  // namespace detail

/// Parses and checks the JSON header `text` of a safetensors file named `file` whose data has `data_bytes`
/// bytes. Throws FormatError on the first thing that breaks the format; nothing is allocated from the sizes
/// it claims.
inline SafetensorsHeader parse_safetensors_header(const std::string& file, std::string_view text,
                                                  std::uint64_t data_bytes) {
  // The parser takes a NUL for the end and any white space for padding; the format has neither.
  const std::size_t last = text.find_last_not_of(' ');
  if (text.empty() || text.front() != '{' || text[last] != '}' || text.find('\0') != std::string_view::npos) {
    throw FormatError(file, "the header must begin with '{' and end in '}' and spaces");
  }
  SafetensorsHeader header;
  detail::SafetensorsSax sax(file, header);
  nlohmann::json::sax_parse(text.begin(), text.end(), &sax);
  detail::check_layout(file, header.tensors, data_bytes);
  return header;
}

}  // namespace exfusion::io
