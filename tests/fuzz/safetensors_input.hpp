#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz_target.hpp"

namespace exfusion::fuzz {

/// A safetensors file out of an input: as it stands when the first byte is even; else a header, the length of
/// which stands in front, with data, put together so that mutations leave the file's own count of the
/// header's bytes right. `finish(header)` may change the header first.
template <class Finish>
std::string safetensors_file(std::string_view input, const Finish& finish) {
  if (take_byte(input) % 2 == 0) return std::string(input);
  std::string header(take_part(input));
  finish(header);
  std::string file;
  for (unsigned shift = 0; shift < 64; shift += 8)
    file += static_cast<char>(static_cast<unsigned char>(std::uint64_t{header.size()} >> shift));
  return file.append(header).append(input);
}

}  // namespace exfusion::fuzz
