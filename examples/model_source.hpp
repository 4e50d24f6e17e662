#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/checkpoint_folder.hpp>
#include <exfusion/train/stored_model.hpp>

// Where the programs take models from: a finished run or any folder in Hugging Face's layout, a run that has
// not ended, one of its checkpoints.

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

/// A checkpoint to take a model from; null where the path is a folder in Hugging Face's layout, or nothing.
inline std::unique_ptr<io::CheckpointReader> open_unfinished(const std::filesystem::path& path,
                                                             std::vector<std::string>& notes) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) || std::filesystem::exists(path / "config.json", error))
    return nullptr;
  return open_checkpoint(path, notes);
}

/// A GPT and what turns text into its tokens.
struct TextModel {
  Gpt<float> model;
  data::Tokenizer tokenizer;
};

/// Loads a dense GPT with its vocabulary from what `path` means. Throws IoError, FormatError and ConfigError
/// as the readers do, FormatError when the two do not fit.
inline TextModel load_text_model(const std::filesystem::path& path, std::vector<std::string>& notes) {
  TextModel loaded;
  if (const auto checkpoint = open_unfinished(path, notes)) {
    loaded.model = train::read_gpt<float>(*checkpoint);
    const auto& config = checkpoint->info().config;
    if (!config.contains("vocabulary"))
      throw FormatError(checkpoint->path(), "does not say its \"vocabulary\"");
    loaded.tokenizer = data::tokenizer_from_state(config.at("vocabulary"), checkpoint->path());
  } else {
    loaded.model = io::load_gpt2<float>(path);
    loaded.tokenizer = data::load_tokenizer(path);
  }
  if (loaded.tokenizer.vocab_size() != loaded.model.config.vocab_size) {
    throw FormatError(path.string(), "has a vocabulary of ", loaded.tokenizer.vocab_size(),
                      ", its model one of ", loaded.model.config.vocab_size);
  }
  return loaded;
}

/// Loads a dense ViT from what `path` means. Throws as `load_text_model` does.
inline Vit<float> load_image_model(const std::filesystem::path& path, std::vector<std::string>& notes) {
  if (const auto checkpoint = open_unfinished(path, notes)) return train::read_vit<float>(*checkpoint);
  return io::load_vit<float>(path);
}

}  // namespace exfusion::examples
