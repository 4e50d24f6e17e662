#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/file.hpp>
#include <exfusion/io/checkpoint.hpp>

#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::TemporaryFolder;

/// Some arrays of every kind that runs have.
struct State {
  std::vector<float> weights{1, -2, 3.5F, 4, 5, 6};
  std::vector<double> measured{0.1, 0.2};
  std::vector<std::int64_t> steps{7, 8, 9};
  std::vector<std::uint32_t> moments{0x3f803f80U, 0x40000000U};

  std::vector<CheckpointArray> arrays() {
    return {{"steps", Dtype::I64, {3}, std::as_writable_bytes(std::span(steps))},
            {"model.weights", Dtype::F32, {2, 3}, std::as_writable_bytes(std::span(weights))},
            {"measured", Dtype::F64, {2}, std::as_writable_bytes(std::span(measured))},
            {"moments", Dtype::BF16, {2, 2}, std::as_writable_bytes(std::span(moments))}};
  }
  std::vector<SafetensorsEntry> entries() {
    std::vector<SafetensorsEntry> result;
    for (const auto& array : arrays()) result.push_back({array.name, array.dtype, array.shape, array.bytes});
    return result;
  }
  bool operator==(const State&) const = default;
};

const CheckpointInfo some_info{.config = {{"lr", 0.1}, {"text", "\"header_xxh3\":\"0123456789abcdef"}},
                               .state = {{"step", 12}, {"key", 0xffffffffffffffffU}}};

std::string error_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Checkpoint, GivesBackEveryArrayAndWhatItSaysOfTheRun) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  const CheckpointReader reader(folder / "c");
  reader.verify();
  EXPECT_EQ(reader.info().config, some_info.config);
  EXPECT_EQ(reader.info().state, some_info.state);
  State read;
  read.weights.assign(6, 0);
  read.measured.assign(2, 0);
  read.steps.assign(3, 0);
  read.moments.assign(2, 0);
  reader.read_into(read.arrays());
  EXPECT_EQ(read, state);
}

TEST(Checkpoint, IsAnOrdinarySafetensorsFile) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  const SafetensorsReader reader(folder / "c");
  EXPECT_EQ(reader.read<float>("model.weights").values()[2], 3.5F);
  EXPECT_EQ(reader.metadata().at("format_version"), "1");
}

TEST(Checkpoint, TruncatedAtAnyByteIsRefused) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  const std::string whole = read_file(folder / "c");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    folder.file("torn", whole.substr(0, size));
    EXPECT_THROW(CheckpointReader(folder / "torn").verify(), FormatError) << size;
  }
  folder.file("torn", whole + '\0');
  EXPECT_THROW(CheckpointReader(folder / "torn").verify(), FormatError);
}

TEST(Checkpoint, AnyFlippedBitIsFound) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  const std::string whole = read_file(folder / "c");
  const std::size_t data_begin = 8 + SafetensorsReader(folder / "c").header_text().size();
  for (std::size_t byte = 0; byte < whole.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[byte] = static_cast<char>(damaged[byte] ^ (1 << bit));
      folder.file("damaged", damaged);
      const std::string error = error_of([&] { CheckpointReader(folder / "damaged").verify(); });
      EXPECT_NE(error, "") << "byte " << byte << ", bit " << bit;
      EXPECT_TRUE(byte < data_begin || error.find("does not match its hash") != std::string::npos) << error;
    }
  }
}

TEST(Checkpoint, OfAnotherVersionOrKindIsRefusedByName) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  std::string text = read_file(folder / "c");
  const std::string version = "\"format_version\":\"1\"";
  text.replace(text.find(version), version.size(), "\"format_version\":\"2\"");
  folder.file("newer", text);
  const std::string error = error_of([&] { CheckpointReader(folder / "newer"); });
  EXPECT_NE(error.find("version \"2\""), std::string::npos) << error;
  EXPECT_NE(error.find("reads version 1"), std::string::npos) << error;
  write_safetensors_file(folder / "plain", safetensors_header(state.entries(), {{"format", "pt"}}),
                         state.entries());
  EXPECT_NE(error_of([&] { CheckpointReader(folder / "plain"); }).find("no checkpoint"), std::string::npos);
  EXPECT_THROW(CheckpointReader(folder / "absent"), IoError);
}

TEST(Checkpoint, ThatDoesNotFitTheRunIsRefusedAndChangesNothing) {
  const TemporaryFolder folder;
  State state;
  write_checkpoint(folder / "c", state.entries(), some_info);
  const CheckpointReader reader(folder / "c");
  State other;
  other.weights.assign(6, 9);
  const State before = other;
  auto arrays = other.arrays();
  arrays[1].shape = {3, 2};
  EXPECT_NE(error_of([&] { reader.read_into(arrays); }).find("[2,3]"), std::string::npos);
  arrays = other.arrays();
  arrays[0].dtype = Dtype::F64;
  EXPECT_NE(error_of([&] { reader.read_into(arrays); }).find("steps"), std::string::npos);
  arrays = other.arrays();
  arrays[0].name = "another";
  EXPECT_NE(error_of([&] { reader.read_into(arrays); }).find("another"), std::string::npos);
  arrays = other.arrays();
  arrays.pop_back();
  EXPECT_NE(error_of([&] { reader.read_into(arrays); }).find("moments"), std::string::npos);
  EXPECT_EQ(other, before);
  EXPECT_NO_THROW(reader.check_fits({other.arrays()[1]}, "model."));
}

TEST(Checkpoint, FindsTheFirstArrayThatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    State state;
    EXPECT_EQ(first_not_finite(state.entries()), "");
    state.weights = {
        std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min(), -0.0F, 0, 1, bad};
    EXPECT_EQ(first_not_finite(state.entries()), "model.weights");
    state = {};
    state.measured[1] = static_cast<double>(bad);
    EXPECT_EQ(first_not_finite(state.entries()), "measured");
  }
  State state;
  state.moments[1] = 0x7f800000U;
  EXPECT_EQ(first_not_finite(state.entries()), "moments");
}

TEST(Checkpoint, ThatCannotBeWrittenLeavesTheOldOne) {
  const TemporaryFolder folder;
  State state;
  EXPECT_THROW(write_checkpoint(folder / "absent" / "c", state.entries(), some_info), IoError);
  auto twice = state.entries();
  twice.push_back(twice.front());
  write_checkpoint(folder / "c", state.entries(), some_info);
  EXPECT_THROW(write_checkpoint(folder / "c", twice, some_info), ConfigError);
  EXPECT_NO_THROW(CheckpointReader(folder / "c").verify());
}

}  // namespace
}  // namespace exfusion::io
