#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <exfusion/data/gguf_tokenizer.hpp>
#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/checkpoint_folder.hpp>
#include <exfusion/train/stored_model.hpp>

// Where the programs take models from: a finished run or any folder in Hugging Face's layout, a run that has
// not ended, one of its checkpoints, a fused model that `convert upcycle` wrote, a GGUF file.

namespace exfusion::examples {

/// The checkpoint that a path means: the file itself, or the newest good one of a run's folder or of a folder
/// of checkpoints; what was wrong with newer ones is appended to `notes`. Null when a folder has none.
/// Throws IoError, and FormatError when it is damaged.
inline std::unique_ptr<io::CheckpointReader> open_checkpoint(const std::filesystem::path& path,
                                                             std::vector<std::string>& notes) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const bool is_run = fs::is_directory(path / "checkpoints", error);
    return train::open_newest_checkpoint(is_run ? path / "checkpoints" : path, notes);
  }
  auto checkpoint = std::make_unique<io::CheckpointReader>(path);
  checkpoint->verify();
  return checkpoint;
}

/// A place where a model is stored.
struct ModelSource {
  std::filesystem::path path;
  std::unique_ptr<io::CheckpointReader> checkpoint;  ///< Null: a folder in Hugging Face's layout, or
  std::unique_ptr<io::GgufReader> gguf;              ///< a GGUF file.
  std::vector<std::string> notes;                    ///< On checkpoints that were passed over.

  /// config.json, or what a checkpoint says of its model.
  io::JsonConfig config() const {
    return checkpoint ? train::saved_object(*checkpoint, "model") : io::JsonConfig(path / "config.json");
  }
  /// Whether it is a fused model without a run, whose experts are kept.
  bool has_experts() const {
    return checkpoint && train::is_model_alone(*checkpoint) &&
           std::holds_alternative<FusedFfnConfig>(train::read_ffn(*checkpoint));
  }
  bool is_vit() const {
    if (gguf) return false;
    const io::JsonConfig json = config();
    return json["model_type"] == "vit" || io::is_timm(json);
  }
};

/// Finds the model that a path means. Throws IoError and FormatError as `open_checkpoint` does.
inline ModelSource open_model(const std::filesystem::path& path) {
  ModelSource source{.path = path, .checkpoint = nullptr, .gguf = nullptr, .notes = {}};
  std::error_code error;
  if (path.extension() == ".gguf") {
    source.gguf = std::make_unique<io::GgufReader>(path);
    return source;
  }
  if (!std::filesystem::exists(path, error))
    throw IoError(path.string(), error ? "cannot be opened: " + error.message() : "does not exist");
  if (!std::filesystem::exists(path / "config.json", error))
    source.checkpoint = open_checkpoint(path, source.notes);
  return source;
}

/// The dense GPT of a source. Throws as the readers do.
inline Gpt<float> load_gpt(const ModelSource& source) {
  if (source.gguf) return io::load_gguf<float>(*source.gguf);
  return source.checkpoint ? train::read_gpt<float>(*source.checkpoint) : io::load_gpt2<float>(source.path);
}

/// The dense ViT of a source. Throws as the readers do.
inline Vit<float> load_vit(const ModelSource& source) {
  return source.checkpoint ? train::read_vit<float>(*source.checkpoint) : io::load_vit<float>(source.path);
}

/// The tokenizer of a source; none where it has none.
inline std::optional<data::Tokenizer> find_tokenizer(const ModelSource& source) {
  if (source.gguf) return data::from_gguf(io::load_gguf_tokenizer(*source.gguf), source.gguf->path());
  if (source.checkpoint) {
    const auto& config = source.checkpoint->info().config;
    if (!config.contains("vocabulary")) return std::nullopt;
    return data::tokenizer_from_state(config.at("vocabulary"), source.checkpoint->path());
  }
  for (const char* name : {"tokenizer.json", "vocab.json", "encoder.json"}) {
    std::error_code error;
    if (std::filesystem::exists(source.path / name, error)) return data::load_tokenizer(source.path);
  }
  return std::nullopt;
}

/// A GPT and what turns text into its tokens.
struct TextModel {
  Gpt<float> model;
  data::Tokenizer tokenizer;
};

/// Loads a dense GPT with its tokenizer. Throws as the readers do, FormatError when there is no tokenizer or
/// the two do not fit.
inline TextModel load_text_model(const ModelSource& source) {
  TextModel loaded{.model = load_gpt(source), .tokenizer = {}};
  auto tokenizer = find_tokenizer(source);
  if (!tokenizer) throw FormatError(source.path.string(), "has no tokenizer.json or vocab.json");
  loaded.tokenizer = std::move(*tokenizer);
  if (loaded.tokenizer.vocab_size() > loaded.model.config.vocab_size) {
    throw FormatError(source.path.string(), "has a vocabulary of ", loaded.tokenizer.vocab_size(),
                      ", its model one of ", loaded.model.config.vocab_size);
  }
  return loaded;
}

}  // namespace exfusion::examples
