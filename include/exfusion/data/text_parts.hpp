#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <exfusion/core/file.hpp>
#include <exfusion/data/gpt2_words.hpp>

namespace exfusion::data {

/// Calls `use(part)` for the parts of a file, in order, each of about `block` bytes: they are cut where
/// GPT-2's tokenizer cuts anyway, so that the tokens of the parts are those of the whole, and never within a
/// character. A file may be larger than memory, but for a stretch without white space. Throws IoError, also
/// when it is not a regular file.
template <class Use>
void for_each_text_part(const std::filesystem::path& path, const Use& use, std::size_t block = 16U << 20) {
  exfusion::detail::FileDescriptor file(path, O_RDONLY);
  block = static_cast<std::size_t>(std::min<std::uint64_t>(block, file.size() + 1));
  std::string text;
  for (bool is_end = false; !is_end;) {
    const std::size_t kept = text.size();
    text.resize(kept + block);
    const std::size_t got = file.read_up_to(std::as_writable_bytes(std::span(text)).subspan(kept));
    text.resize(kept + got);
    is_end = got < block;
    const std::size_t cut = is_end ? text.size() : last_gpt2_cut(text);
    if (cut > 0) use(std::string_view(text).substr(0, cut));
    text.erase(0, cut);
  }
}

}  // namespace exfusion::data
