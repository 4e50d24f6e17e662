#include <exfusion/data/gguf_tokenizer.hpp>

#include "fuzz_target.hpp"

// 64 KiB: nodes of values.
EXFUSION_FUZZ_TARGET(gguf, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const io::GgufReader reader(file.holding(input));
  for (const auto& name : reader.names()) {
    const auto values = Tensor<float>::empty(reader.shape(name));
    reader.read_into(name, values);
    fuzz::expect(static_cast<std::size_t>(2 * values.size()) <= input.size(), "every number is in the file");
  }
  try {
    const io::GgufTokenizer tokenizer = io::load_gguf_tokenizer(reader);
    fuzz::expect(tokenizer.types.size() == tokenizer.tokens.size(), "each token has a type");
    data::from_gguf(tokenizer, "input");
  } catch (const Error&) {  // its model may be sound
  }
  io::load_gguf<float>(reader);
}
