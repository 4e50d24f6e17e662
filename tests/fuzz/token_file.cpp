#include <cstring>
#include <vector>

#include <exfusion/data/token_file.hpp>

#include "fuzz_target.hpp"

EXFUSION_FUZZ_TARGET(token_file, 4 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const data::TokenFile tokens(file.holding(input));
  const std::size_t header = tokens.format() == data::TokenFileFormat::llmc ? 1024 : 0;
  fuzz::expect(header + 2 * tokens.tokens().size() == input.size(), "nothing is left over");
  fuzz::expect(tokens.tokens().empty() ||
                   std::memcmp(tokens.tokens().data(), input.data() + header, input.size() - header) == 0,
               "the tokens are those of the file");
  tokens.check_tokens(50257, file.path());
}
