#include <exfusion/data/text.hpp>
#include <exfusion/data/tokenizer_file.hpp>

#include "fuzz_target.hpp"

// The first byte says whether the rest is a text, or a vocabulary file and a text in it. 256 KiB: a bit for
// each code point, and a vocabulary's JSON document, in which a token of five bytes becomes a node of 100.
EXFUSION_FUZZ_TARGET(text, 256 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const unsigned choice = fuzz::take_byte(input);
  data::TextOptions options{.context = 1 + choice / 2 % 4, .tokenizer = {}};
  if (choice % 2 == 1) options.tokenizer = data::load_vocabulary(file.holding(fuzz::take_part(input)));
  const auto text = data::TextDataset::from_string(input, "text", options);
  fuzz::expect(text.tokenizer.decode(text.train) + text.tokenizer.decode(text.validation) == input,
               "the tokens are the text");
  fuzz::expect(data::tokenizer_from_state(data::tokenizer_state(text.tokenizer), "state") == text.tokenizer,
               "the vocabulary survives being written");
}
