#include <cstdint>

#include <exfusion/io/safetensors_reader.hpp>

#include "safetensors_input.hpp"

// 64 KiB: lists that double as they grow.
EXFUSION_FUZZ_TARGET(safetensors, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFile file;
  const io::SafetensorsReader reader(file.holding(fuzz::safetensors_file(input, [](std::string&) {})));
  for (const io::TensorInfo& tensor : reader.tensors()) {
    try {
      if (io::is_floating(tensor.dtype)) {
        fuzz::expect(reader.read<float>(tensor.name).size() == tensor.size(), "all is read");
        fuzz::expect(reader.read<double>(tensor.name).size() == tensor.size(), "all is read");
      } else {
        fuzz::expect(reader.read_integers(tensor.name).size() == tensor.size(), "all is read");
      }
    } catch (const Error&) {  // others may be sound
    }
  }
}
