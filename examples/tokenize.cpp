// Turns text files into files of tokens for train_gpt, nanoGPT and llm.c. The texts may be larger than
// memory.
//
//   tokenize book.txt --tokenizer bpe:4096 --out data        learns a vocabulary, too
//   tokenize *.txt --tokenizer GPT2_FOLDER --out data        in GPT-2's vocabulary
//   train_gpt --data data --tokenizer data

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/data/bpe_trainer.hpp>
#include <exfusion/data/text_parts.hpp>
#include <exfusion/data/token_file.hpp>
#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/train/units.hpp>

#include "program.hpp"
#include "tokenizer_choice.hpp"

namespace {

using namespace exfusion;
namespace fs = std::filesystem;

struct TokenizeOptions {
  std::vector<std::string> files;
  std::string tokenizer;
  std::string out;
  std::string format = "nanogpt";
  double validation = 0.1;
};

void add_options(CLI::App& app, TokenizeOptions& o) {
  app.option_defaults()->always_capture_default()->multi_option_policy(examples::last_wins);
  app.add_option("files", o.files,
                 "Text files; after each comes the vocabulary's <|endoftext|>, if it has one")
      ->required()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str("");
  app.add_option(
         "--tokenizer", o.tokenizer,
         "Folder with tokenizer.json, vocab.json and merges.txt, or encoder.json and vocab.bpe; or bpe:N: a "
         "byte-level BPE of N tokens, learned from the files")
      ->required();
  app.add_option("--out", o.out, "Folder for train.bin, val.bin and the tokenizer, made if missing")
      ->required();
  app.add_option("--format", o.format, "nanogpt: tokens alone; llmc: behind llm.c's header")
      ->check(CLI::IsMember({"nanogpt", "llmc"}));
  app.add_option("--validation", o.validation, "Share of the bytes, from the end, for val.bin, in (0, 1)");
}

data::Tokenizer make_tokenizer(const TokenizeOptions& o) {
  const auto size = examples::size_to_learn(o.tokenizer);
  if (!size) return data::load_tokenizer(o.tokenizer);
  data::BpeTrainer trainer;
  for (const std::string& file : o.files)
    data::for_each_text_part(file, [&](std::string_view part) { trainer.add(part); });
  return trainer.train(*size);
}

using Append = std::function<void(std::span<const std::int32_t>)>;

/// The texts as one stream of tokens, of which a range of bytes is asked for.
class TokenStream {
 public:
  TokenStream(const std::vector<std::string>& files, const data::Tokenizer& tokenizer)
      : files_(files), tokenizer_(tokenizer) {
    if (const auto* bpe = std::get_if<data::BpeTokenizer>(&tokenizer.kind())) encoder_.emplace(*bpe);
    for (const std::string& file : files) bytes_ += fs::file_size(file);
  }

  std::uint64_t bytes() const { return bytes_; }

  /// Appends the tokens before (or, `after`: from) the last place up to byte `split` where words part.
  void encode(std::uint64_t split, bool after, const Append& append) {
    std::uint64_t place = 0;
    for (const std::string& file : files_) {
      data::for_each_text_part(file, [&](std::string_view part) {
        const std::uint64_t end = place + part.size();
        std::size_t cut = end <= split ? part.size() : 0;
        if (place < split && split < end) cut = data::last_gpt2_cut(part.substr(0, split - place));
        append_text(after ? part.substr(cut) : part.substr(0, cut), file, append);
        place = end;
      });
      if (const auto end = tokenizer_.end_of_text(); end && (place <= split) != after) append({&*end, 1});
    }
  }

 private:
  void append_text(std::string_view text, const std::string& where, const Append& append) {
    if (text.empty()) return;
    tokens_.clear();
    if (encoder_) {
      encoder_->encode(text, tokens_);
    } else {
      tokens_ = tokenizer_.encode(text, where);
    }
    append(tokens_);
  }

  const std::vector<std::string>& files_;
  const data::Tokenizer& tokenizer_;
  std::optional<data::BpeEncoder> encoder_;
  std::vector<std::int32_t> tokens_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  TokenizeOptions o;
  CLI::App app("Turns text files into files of tokens.");
  add_options(app, o);
  if (const auto code = examples::parse(app, argc, argv)) return *code;
  examples::require(o.validation > 0 && o.validation < 1, "--validation", o.validation, "in (0, 1)");

  const data::Tokenizer tokenizer = make_tokenizer(o);
  if (tokenizer.vocab_size() > 65536)
    throw ConfigError("--tokenizer", "has ", tokenizer.vocab_size(),
                      " tokens: these files hold 65536 different ones");
  fs::create_directories(o.out);
  data::save_tokenizer(tokenizer, o.out);
  const auto format = o.format == "llmc" ? data::TokenFileFormat::llmc : data::TokenFileFormat::nanogpt;
  TokenStream stream(o.files, tokenizer);
  const auto split = static_cast<std::uint64_t>(static_cast<double>(stream.bytes()) * (1 - o.validation));
  const auto begin = std::chrono::steady_clock::now();
  for (const bool after : {false, true}) {
    const fs::path path = fs::path(o.out) / (after ? "val.bin" : "train.bin");
    const Index count = data::write_token_file(
        path, format, [&](const Append& append) { stream.encode(split, after, append); });
    std::cout << path.string() << ": " << train::with_commas(count) << " tokens\n";
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::cout << train::with_commas(static_cast<Index>(stream.bytes())) << " bytes, "
            << static_cast<Index>(static_cast<double>(stream.bytes()) / 1e6 / seconds.count()) << " MB/s\n";
  return 0;
} catch (const std::exception& error) {
  return exfusion::examples::report(error);
}
