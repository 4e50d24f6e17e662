#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <exfusion/data/text.hpp>
#include <exfusion/data/token_file.hpp>
#include <exfusion/data/token_view.hpp>

namespace exfusion::data {

/// Tokens to train on and to validate with, wherever they are kept. Copies share them.
struct TokenDataset {
  std::string name;
  Tokenizer tokenizer;
  TokenView train;
  TokenView validation;
  std::shared_ptr<const void> owner;

  /// A text in memory.
  static TokenDataset from_text(TextDataset text) {
    auto kept = std::make_shared<const TextDataset>(std::move(text));
    return {kept->name, kept->tokenizer, kept->train, kept->validation, kept};
  }

  /// train.bin and val.bin of a folder, mapped into memory (token_file.hpp). Throws IoError and FormatError
  /// as TokenFile does, FormatError for a token outside the vocabulary and for a file of fewer than
  /// `context` + 1 tokens.
  static TokenDataset from_folder(const std::filesystem::path& folder, Tokenizer tokenizer, Index context) {
    auto files = std::make_shared<const std::pair<TokenFile, TokenFile>>(TokenFile(folder / "train.bin"),
                                                                         TokenFile(folder / "val.bin"));
    TokenDataset dataset{.name = folder.string(),
                         .tokenizer = std::move(tokenizer),
                         .train = files->first.tokens(),
                         .validation = files->second.tokens(),
                         .owner = files};
    check(files->first, folder / "train.bin", dataset.tokenizer.vocab_size(), context);
    check(files->second, folder / "val.bin", dataset.tokenizer.vocab_size(), context);
    return dataset;
  }

 private:
  static void check(const TokenFile& file, const std::filesystem::path& path, Index vocab_size,
                    Index context) {
    const auto count = std::ssize(file.tokens());
    if (count <= context) {
      throw FormatError(path.string(), "is too short: it has ", count, " tokens, and a context of ", context,
                        " needs at least ", context + 1);
    }
    file.check_tokens(vocab_size, path);
  }
};

}  // namespace exfusion::data
