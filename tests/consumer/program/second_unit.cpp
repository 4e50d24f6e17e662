// A second source file with the same headers: everything in them must be inline. It also uses what
// exfusion::data and exfusion::io stand on.

#include "second_unit.hpp"

#include <array>
#include <cstddef>
#include <span>

#include <exfusion/data/gzip.hpp>
#include <exfusion/exfusion.hpp>
#include <exfusion/io/checkpoint.hpp>
#include <exfusion/io/gpt2.hpp>

namespace consumer {

namespace {

constexpr std::array<float, 3> numbers{1.5F, -2.0F, 0.25F};

}  // namespace

exfusion::Index parameters_of(const exfusion::Gpt<float>& model) {
  return exfusion::parameter_count<float>(model);
}

bool checkpoint_comes_back(const std::filesystem::path& path) {
  namespace io = exfusion::io;
  io::write_checkpoint(path, {{"numbers", io::Dtype::F32, {3}, std::as_bytes(std::span(numbers))}},
                       {.config = {{"lr", 0.5}}, .state = {{"step", 7}}});
  std::array<float, 3> read{};
  const io::CheckpointReader reader(path);
  reader.verify();
  reader.read_into({{"numbers", io::Dtype::F32, {3}, std::as_writable_bytes(std::span(read))}});
  return read == numbers && reader.info().state.at("step") == 7;
}

bool zlib_reads_back(const std::filesystem::path& path) {
  const gzFile file = gzopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  gzwrite(file, numbers.data(), sizeof(numbers));
  gzclose(file);
  std::array<float, 3> read{};
  exfusion::data::GzipReader reader(path);
  reader.read(std::as_writable_bytes(std::span(read)));
  reader.expect_end();
  return read == numbers;
}

}  // namespace consumer
