#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <exfusion/core/scalar.hpp>

namespace exfusion::data {

/// A sequence of tokens that somebody else keeps: 32 bits each in memory, or 16 bits each in a mapped file.
class TokenView {
 public:
  TokenView() = default;
  TokenView(std::span<const std::int32_t> tokens)  // NOLINT(google-explicit-constructor)
      : wide_(tokens.data()), size_(std::ssize(tokens)) {}
  TokenView(std::span<const std::uint16_t> tokens)  // NOLINT(google-explicit-constructor)
      : narrow_(tokens.data()), size_(std::ssize(tokens)) {}
  TokenView(const std::vector<std::int32_t>& tokens)  // NOLINT(google-explicit-constructor)
      : TokenView(std::span(tokens)) {}
  TokenView(std::vector<std::int32_t>&&) = delete;

  Index size() const { return size_; }

  /// Tokens [first, first + count), which the sequence must have, go to `to`.
  void copy(Index first, Index count, std::int32_t* to) const {
    if (wide_ != nullptr) {
      std::copy_n(wide_ + first, count, to);
    } else {
      std::copy_n(narrow_ + first, count, to);
    }
  }

  std::int32_t operator[](Index i) const { return wide_ != nullptr ? wide_[i] : narrow_[i]; }

  /// All of it as it stands in memory.
  std::span<const std::byte> bytes() const {
    const auto size = static_cast<std::size_t>(size_);
    return wide_ != nullptr ? std::as_bytes(std::span(wide_, size)) : std::as_bytes(std::span(narrow_, size));
  }

 private:
  const std::int32_t* wide_ = nullptr;
  const std::uint16_t* narrow_ = nullptr;
  Index size_ = 0;
};

}  // namespace exfusion::data
