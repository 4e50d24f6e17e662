#pragma once

#include <filesystem>
#include <string>
#include <variant>

#include <nlohmann/json.hpp>

#include <exfusion/data/bpe_file.hpp>
#include <exfusion/data/tokenizer.hpp>
#include <exfusion/data/vocabulary_file.hpp>

namespace exfusion::data {

/// Reads the tokenizer of a model's folder: tokenizer.json, vocab.json with merges.txt, encoder.json with
/// vocab.bpe, or a vocab.json of single characters. Throws IoError when there is none of them, FormatError
/// when they are damaged, ConfigError for a tokenizer.json of another kind than byte-level BPE.
inline Tokenizer load_tokenizer(const std::filesystem::path& folder) {
  const auto exists = [&folder](const char* name) {
    std::error_code error;
    return std::filesystem::exists(folder / name, error);
  };
  if (exists("tokenizer.json")) return load_tokenizer_json(folder / "tokenizer.json");
  if (exists("merges.txt")) return load_bpe(folder / "vocab.json", folder / "merges.txt");
  if (exists("vocab.bpe")) return load_bpe(folder / "encoder.json", folder / "vocab.bpe");
  return load_vocabulary(folder / "vocab.json");
}

/// Writes what `load_tokenizer` reads: vocab.json for characters; tokenizer.json for BPE, and the
/// tokenizer_config.json that Hugging Face's libraries want beside it. Throws IoError.
inline void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder) {
  if (const auto* characters = std::get_if<CharTokenizer>(&tokenizer.kind()))
    return save_vocabulary(*characters, folder / "vocab.json");
  const auto& bpe = std::get<BpeTokenizer>(tokenizer.kind());
  nlohmann::ordered_json config{{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", false}};
  if (bpe.end_of_text()) {
    for (const char* key : {"bos_token", "eos_token", "unk_token"}) config[key] = "<|endoftext|>";
  }
  write_file_atomically(folder / "tokenizer.json", tokenizer_json(bpe));
  write_file_atomically(folder / "tokenizer_config.json", config.dump(1) + '\n');
}

/// The tokenizer as JSON for a checkpoint: a text of all characters, or what tokenizer.json holds.
inline nlohmann::json tokenizer_state(const Tokenizer& tokenizer) {
  if (const auto* characters = std::get_if<CharTokenizer>(&tokenizer.kind())) return characters->text();
  return nlohmann::json::parse(tokenizer_json(std::get<BpeTokenizer>(tokenizer.kind())));
}

/// What `tokenizer_state` wrote. Throws FormatError in the name of `where`.
inline Tokenizer tokenizer_from_state(const nlohmann::json& state, const std::string& where) {
  if (state.is_string()) return CharTokenizer::from_characters(state.get<std::string>(), where);
  if (state.is_object()) return parse_tokenizer_json(state.dump(), where);
  throw FormatError(where, "has no valid vocabulary");
}

}  // namespace exfusion::data
