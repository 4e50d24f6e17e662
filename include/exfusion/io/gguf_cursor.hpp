#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include <exfusion/core/error.hpp>
#include <exfusion/io/gguf_writer.hpp>

namespace exfusion::io {

namespace detail {

/// Reads numbers and texts one after another, never beyond the end.
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::uint64_t place() const { return place_; }
  std::uint64_t left() const { return bytes_.size() - place_; }

  template <class Number>
  Number number() {
    need(sizeof(Number));
    const auto value = load_unaligned<Number>(bytes_.data() + place_);
    place_ += sizeof(Number);
    return value;
  }

  std::string text() {
    const auto size = number<std::uint64_t>();
    need(size);
    std::string value(reinterpret_cast<const char*>(bytes_.data() + place_), static_cast<std::size_t>(size));
    place_ += size;
    return value;
  }

  /// A value of a type other than array.
  nlohmann::json scalar(GgufType type) {
    switch (type) {
      case GgufType::u8:
        return number<std::uint8_t>();
      case GgufType::i8:
        return number<std::int8_t>();
      case GgufType::u16:
        return number<std::uint16_t>();
      case GgufType::i16:
        return number<std::int16_t>();
      case GgufType::u32:
        return number<std::uint32_t>();
      case GgufType::i32:
        return number<std::int32_t>();
      case GgufType::f32:
        return number<float>();
      case GgufType::boolean:
        return boolean();
      case GgufType::string:
        return text();
      case GgufType::u64:
        return number<std::uint64_t>();
      case GgufType::i64:
        return number<std::int64_t>();
      case GgufType::f64:
        return number<double>();
      default:
        throw FormatError(path_, "has a value of type ", static_cast<std::uint32_t>(type), " at byte ",
                          place_);
    }
  }

  nlohmann::json value() {
    const auto type = static_cast<GgufType>(number<std::uint32_t>());
    if (type != GgufType::array) return scalar(type);
    const auto of = static_cast<GgufType>(number<std::uint32_t>());
    const auto count = number<std::uint64_t>();
    if (count > left())
      throw FormatError(path_, "claims a list of ", count, " values: ", left(), " bytes are left");
    auto list = nlohmann::json::array();
    for (std::uint64_t i = 0; i < count; ++i) list.push_back(scalar(of));
    return list;
  }

 private:
  bool boolean() {
    const auto byte = number<std::uint8_t>();
    if (byte > 1) throw FormatError(path_, "has ", int{byte}, " for true or false at byte ", place_ - 1);
    return byte == 1;
  }

  void need(std::uint64_t bytes) const {
    if (bytes > left())
      throw FormatError(path_, "ends early: at byte ", place_, " ", bytes, " more are needed");
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
  std::uint64_t place_ = 0;
};

}  // namespace detail

}  // namespace exfusion::io
