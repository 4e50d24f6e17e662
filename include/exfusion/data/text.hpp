#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/data/tokenizer.hpp>

namespace exfusion::data {

struct TextOptions {
  /// T: both parts must be long enough for one window of T tokens and its targets.
  Index context = 1;
  /// Share of the text, from its end, that is kept for validation; between 0 and 1.
  double validation_fraction = 0.1;
  /// The vocabulary; without tokens: the characters of the text.
  Tokenizer tokenizer = {};
};

/// A text as tokens, in two parts: the first for training, the last for validation.
struct TextDataset {
  std::string name;
  Tokenizer tokenizer;
  std::vector<std::int32_t> train;
  std::vector<std::int32_t> validation;

  /// Reads a file: UTF-8, or any bytes where a BPE is given. Throws IoError when it is missing, a folder or
  /// unreadable, FormatError when it is not UTF-8, empty, or too short for the context in either part, Error
  /// when it has a character that the given vocabulary lacks.
  static TextDataset from_file(const std::filesystem::path& path, const TextOptions& options = {}) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
      throw IoError(path.string(), "is a folder: the text must be one file");
    }
    return from_string(read_file(path), path.string(), options);
  }

  /// The same for a text in memory; `name` stands in for the path in errors.
  static TextDataset from_string(std::string_view text, std::string name, const TextOptions& options = {}) {
    if (options.context < 1) throw ConfigError("text", "the context is ", options.context, ": at least 1");
    if (!(options.validation_fraction > 0 && options.validation_fraction < 1)) {
      throw ConfigError("text", "the validation fraction is ", options.validation_fraction,
                        ": it must lie between 0 and 1");
    }
    if (text.empty()) throw FormatError(name, "is empty");
    TextDataset dataset{.name = std::move(name), .tokenizer = {}, .train = {}, .validation = {}};
    const bool is_given = options.tokenizer.vocab_size() > 0;
    dataset.tokenizer =
        is_given ? options.tokenizer : Tokenizer(CharTokenizer::from_text(text, dataset.name));
    dataset.train = dataset.tokenizer.encode(text, dataset.name);
    const auto total = static_cast<double>(dataset.train.size());
    // The small addend keeps the rounding of 1 - fraction from costing a character.
    const auto kept = static_cast<std::ptrdiff_t>(total * (1 - options.validation_fraction) + 1e-6);
    dataset.validation.assign(dataset.train.begin() + kept, dataset.train.end());
    dataset.train.resize(static_cast<std::size_t>(kept));
    dataset.check_part("training", dataset.train, options.context);
    dataset.check_part("validation", dataset.validation, options.context);
    return dataset;
  }

 private:
  void check_part(std::string_view part, const std::vector<std::int32_t>& tokens, Index context) const {
    if (static_cast<Index>(tokens.size()) > context) return;
    throw FormatError(name, "is too short: its ", train.size() + validation.size(), " ", tokenizer.unit(),
                      " leave ", tokens.size(), " for ", part, ", and a context of ", context,
                      " needs at least ", context + 1);
  }
};

}  // namespace exfusion::data
