#pragma once

#include <string>

#include <exfusion/data/bpe_file.hpp>
#include <exfusion/io/gguf.hpp>

namespace exfusion::data {

namespace detail {

/// Types of tokens in GGUF.
inline constexpr std::int32_t gguf_normal = 1, gguf_control = 3, gguf_unused = 5;

}  // namespace detail

/// A tokenizer as a GGUF file holds it, for a model of `vocab_size` tokens: those beyond the tokenizer's are
/// marked as unused.
inline io::GgufTokenizer to_gguf(const BpeTokenizer& tokenizer, Index vocab_size) {
  io::GgufTokenizer result{.tokens = detail::token_texts(tokenizer),
                           .types = {},
                           .merges = detail::merge_texts(tokenizer),
                           .end_of_text = tokenizer.end_of_text()};
  result.types.assign(result.tokens.size(), detail::gguf_normal);
  for (const auto& [text, id] : tokenizer.special())
    result.types[static_cast<std::size_t>(id)] = detail::gguf_control;
  for (Index id = tokenizer.vocab_size(); id < vocab_size; ++id) {
    result.tokens.push_back("[PAD" + std::to_string(id) + "]");
    result.types.push_back(detail::gguf_unused);
  }
  return result;
}

/// The tokenizer of a GGUF file, whose name stands in errors. Throws FormatError when its tokens and merges
/// do not fit together.
inline BpeTokenizer from_gguf(const io::GgufTokenizer& stored, const std::string& where) {
  detail::BpeParts parts(where);
  for (std::size_t i = 0; i < stored.tokens.size(); ++i) {
    if (stored.types[i] == detail::gguf_normal) {
      parts.add(stored.tokens[i], i);
    } else {
      parts.add_special(stored.tokens[i], i);
    }
  }
  for (const std::string& merge : stored.merges) detail::add_merge_line(parts, merge, where);
  return parts.build();
}

}  // namespace exfusion::data
