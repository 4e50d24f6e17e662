#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <exfusion/core/mapped_file.hpp>
#include <exfusion/core/scalar.hpp>

// Files of 16-bit tokens: nanoGPT's, which are nothing else, and llm.c's, with a header (docs/formats.md).

namespace exfusion::data {

enum class TokenFileFormat { nanogpt, llmc };

namespace detail {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

/// llm.c's header: 256 numbers, of which three say something.
struct LlmcHeader {
  static constexpr std::int32_t magic = 20240520;
  static constexpr std::int32_t version = 1;

  std::array<std::int32_t, 256> numbers{};
};

}  // namespace detail

/// A file of tokens, mapped into memory: it may be larger than that.
class TokenFile {
 public:
  /// Tells the formats apart by llm.c's magic number. Throws IoError when the file cannot be read,
  /// FormatError when it ends within a token, or does not have the version or the size that its header
  /// says.
  explicit TokenFile(const std::filesystem::path& path) : file_(path) {
    const std::span<const std::byte> bytes = file_.bytes();
    const std::string where = path.string();
    if (bytes.size() % sizeof(std::uint16_t) != 0)
      throw FormatError(where, "has ", bytes.size(), " bytes: tokens have two each");
    std::int32_t first = 0;
    if (bytes.size() >= sizeof first) std::memcpy(&first, bytes.data(), sizeof first);
    if (first == detail::LlmcHeader::magic) begin_ = check_header(bytes, where);
  }

  TokenFileFormat format() const { return begin_ > 0 ? TokenFileFormat::llmc : TokenFileFormat::nanogpt; }

  std::span<const std::uint16_t> tokens() const {
    const auto bytes = file_.bytes().subspan(begin_);
    return {reinterpret_cast<const std::uint16_t*>(bytes.data()), bytes.size() / sizeof(std::uint16_t)};
  }

  /// Throws FormatError naming the first token that is not below `vocab_size`. Reads all of the file.
  void check_tokens(Index vocab_size, const std::filesystem::path& path) const {
    const auto all = tokens();
    const auto wrong = std::ranges::find_if(all, [&](std::uint16_t token) { return token >= vocab_size; });
    if (wrong == all.end()) return;
    throw FormatError(path.string(), "token ", wrong - all.begin(), " is ", *wrong, ": the vocabulary has ",
                      vocab_size);
  }

 private:
  static std::size_t check_header(std::span<const std::byte> bytes, const std::string& where) {
    detail::LlmcHeader header;
    if (bytes.size() < sizeof header) throw FormatError(where, "ends within its header");
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.numbers[1] != detail::LlmcHeader::version) {
      throw FormatError(where, "has version ", header.numbers[1], " of llm.c's token files: only ",
                        detail::LlmcHeader::version, " is supported");
    }
    const std::size_t count = (bytes.size() - sizeof header) / sizeof(std::uint16_t);
    if (!std::in_range<std::size_t>(header.numbers[2]) ||
        static_cast<std::size_t>(header.numbers[2]) != count)
      throw FormatError(where, "says that it has ", header.numbers[2], " tokens: it has ", count);
    return sizeof header;
  }

  MappedFile file_;
  std::size_t begin_ = 0;
};

/// Writes a file of tokens whole or not at all: `produce(append)` calls append(tokens), a span of
/// std::int32_t, for as many parts as it likes. Returns the number of tokens. Throws IoError, and ConfigError
/// for a token that does not fit into 16 bits and for 2^31 tokens in llm.c's format.
template <class Produce>
Index write_token_file(const std::filesystem::path& path, TokenFileFormat format, const Produce& produce) {
  Index count = 0;
  write_file_atomically(path, [&](exfusion::detail::FileDescriptor& file) {
    detail::LlmcHeader header;
    const auto header_bytes = std::as_bytes(std::span(header.numbers));
    if (format == TokenFileFormat::llmc) file.write_all(header_bytes);
    std::vector<std::uint16_t> narrow;
    produce([&](std::span<const std::int32_t> tokens) {
      narrow.resize(tokens.size());
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (!std::in_range<std::uint16_t>(tokens[i]))
          throw ConfigError("token_file", "token ", tokens[i], " does not fit into 16 bits");
        narrow[i] = static_cast<std::uint16_t>(tokens[i]);
      }
      file.write_all(std::as_bytes(std::span(narrow)));
      count += std::ssize(tokens);
    });
    if (format == TokenFileFormat::nanogpt) return;
    if (count > std::numeric_limits<std::int32_t>::max())
      throw ConfigError("token_file", count, " tokens are more than llm.c's format can say");
    header.numbers[0] = detail::LlmcHeader::magic;
    header.numbers[1] = detail::LlmcHeader::version;
    header.numbers[2] = static_cast<std::int32_t>(count);
    file.write_at(0, header_bytes);
  });
  return count;
}

}  // namespace exfusion::data
