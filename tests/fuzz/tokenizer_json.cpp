#include <string>

#include <exfusion/data/bpe_file.hpp>

#include "fuzz_target.hpp"

namespace {

using namespace exfusion;

/// A tokenizer.json of the single bytes alone.
const nlohmann::json& smallest() {
  static const nlohmann::json json = [] {
    auto vocab = nlohmann::json::object();
    for (int byte = 0; byte < 256; ++byte)
      vocab[data::detail::visible_bytes(std::string(1, static_cast<char>(byte)))] = byte;
    return nlohmann::json{
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
  }();
  return json;
}

// Tables that are made once are not what the limit is for.
const bool is_ready = !data::detail::char_classes().empty() && !smallest().empty();

/// The tokenizer that the input describes: all of it, or what it changes in the smallest (RFC 7396).
data::BpeTokenizer read(unsigned choice, std::string_view input) {
  if (choice % 2 == 0) return data::parse_tokenizer_json(std::string(input), "tokenizer.json");
  const io::JsonConfig change("change", std::string(input));
  auto changed = smallest();
  changed.merge_patch(change.object());
  return data::read_tokenizer_json(io::JsonConfig::from_object("tokenizer.json", std::move(changed)));
}

}  // namespace

// The first byte says what the rest is. 64 KiB: the smallest tokenizer and its tables.
EXFUSION_FUZZ_TARGET(tokenizer_json, 64 << 10) {
  fuzz::expect(is_ready, "the tables are there");
  const unsigned choice = fuzz::take_byte(input);
  const data::BpeTokenizer tokenizer = read(choice, input);
  const auto text = input.substr(0, 256);
  fuzz::expect(tokenizer.decode(tokenizer.encode(text)) == text, "decoding is the inverse");
  if (choice / 2 % 4 != 0) return;  // what comes takes much longer than all before
  const auto again = data::parse_tokenizer_json(data::tokenizer_json(tokenizer), "again");
  fuzz::expect(again == tokenizer, "it survives being written");
}
