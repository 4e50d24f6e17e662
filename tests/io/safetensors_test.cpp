#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/rng.hpp>
#include <exfusion/io/safetensors.hpp>

#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

using testing::TemporaryFolder;

/// The bytes of a safetensors file with this header and this many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

/// The message of the FormatError with which the reader refuses these bytes; empty when it accepts them.
std::string refusal_of_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  try {
    SafetensorsReader reader(folder.file("x.safetensors", bytes));
  } catch (const FormatError& error) {
    return error.what();
  }
  return {};
}

std::string refusal(const std::string& header, std::size_t data_bytes = 0) {
  return refusal_of_bytes(file_of(header, data_bytes));
}

/// The message of the FormatError that `action` throws.
template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const FormatError& error) {
    return error.what();
  }
  return {};
}

/// Whether a message contains a text.
bool says(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}

std::string entry(const std::string& shape, std::uint64_t begin, std::uint64_t end,
                  const std::string& dtype = "F32") {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" + std::to_string(begin) +
         "," + std::to_string(end) + "]}";
}

template <Scalar T>
std::vector<NamedTensor<T>> some_tensors() {
  Rng rng(3);
  std::vector<NamedTensor<T>> tensors;
  for (const auto& [name, shape] : std::vector<std::pair<std::string, Shape>>{{"weight", {3, 7}},
                                                                              {"scalar", {}},
                                                                              {"b.empty", {0, 5}},
                                                                              {"a.empty", {0}},
                                                                              {"rank four", {1, 2, 3, 4}}}) {
    tensors.push_back({name, Tensor<T>::empty(shape)});
    rng.fill_normal(tensors.back().tensor.values(), 0.0, 1.0);
  }
  return tensors;
}

template <Scalar T>
void expect_round_trip() {
  const TemporaryFolder folder;
  const auto tensors = some_tensors<T>();
  write_safetensors(folder / "m.safetensors", tensors, {{"format", "pt"}, {"quote", "\"\n"}});
  const SafetensorsReader reader(folder / "m.safetensors");
  EXPECT_EQ(reader.metadata().at("format"), "pt");
  EXPECT_EQ(reader.metadata().at("quote"), "\"\n");
  ASSERT_EQ(reader.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(reader.tensor(name).dtype, dtype_of<T>);
    const auto read = reader.read<T>(name);
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_TRUE(std::ranges::equal(read.values(), tensor.values())) << name;
  }
}

TEST(Safetensors, WhatIsWrittenReadsBackBitForBit) {
  expect_round_trip<float>();
  expect_round_trip<double>();
}

TEST(Safetensors, TheWriterSortsByNameAndAlignsTheDataToEightBytes) {
  const TemporaryFolder folder;
  write_safetensors(folder / "m", some_tensors<float>());
  const std::string bytes = read_file(folder / "m");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ(header_bytes % 8, 0U);
  const SafetensorsReader reader(folder / "m");
  std::vector<std::string> names;
  for (const auto& tensor : reader.tensors()) names.push_back(tensor.name);
  EXPECT_TRUE(std::ranges::is_sorted(names));
}

TEST(Safetensors, TheWriterRefusesWhatTheReaderWould) {
  const TemporaryFolder folder;
  const auto one = Tensor<float>::zeros({1});
  EXPECT_THROW(write_safetensors<float>(folder / "m", {{"a", one}, {"a", one}}), ConfigError);
  EXPECT_THROW(write_safetensors<float>(folder / "m", {{"a\n", one}}), ConfigError);
  EXPECT_THROW(write_safetensors<float>(folder / "m", {{"\xff", one}}), ConfigError);
  EXPECT_THROW(write_safetensors<float>(folder / "m", {{"__metadata__", one}}), ConfigError);
  EXPECT_FALSE(std::filesystem::exists(folder / "m"));
}

TEST(Safetensors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  EXPECT_THROW(write_safetensors<float>(folder / "absent" / "m", some_tensors<float>()), IoError);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, FloatsDoublesAndHalvesConvertOnRead) {
  const TemporaryFolder folder;
  const std::string header = R"({"d":)" + entry("[2]", 0, 16, "F64") + R"(,"h":)" +
                             entry("[7]", 16, 30, "F16") + R"(,"b":)" + entry("[2]", 30, 34, "BF16") +
                             R"(,"f":)" + entry("[1]", 34, 38) + "}";
  std::string bytes = file_of(header, 38);
  auto put = [&, at = bytes.size() - 38](auto value) mutable {
    std::memcpy(bytes.data() + at, &value, sizeof value);
    at += sizeof value;
  };
  put(1.0 / 3);
  put(-2.0);
  for (const int half : {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x8000, 0x7C00, 0x7E00})
    put(static_cast<std::uint16_t>(half));
  put(static_cast<std::uint16_t>(0x3F80));
  put(static_cast<std::uint16_t>(0xC040));
  put(0.1F);
  const SafetensorsReader reader(folder.file("m", bytes));
  EXPECT_EQ(reader.read<float>("d").values()[0], static_cast<float>(1.0 / 3));
  EXPECT_EQ(reader.read<double>("d").values()[0], 1.0 / 3);
  EXPECT_EQ(reader.read<double>("f").values()[0], static_cast<double>(0.1F));
  const auto halves = reader.read<float>("h");
  const std::vector<float> expected{1.0F, -2.0F, std::ldexp(1.0F, -24), 65504.0F, -0.0F, INFINITY};
  EXPECT_TRUE(std::ranges::equal(halves.values().first(6), expected));
  EXPECT_TRUE(std::signbit(halves.values()[4]));
  EXPECT_TRUE(std::isnan(halves.values()[6]));
  EXPECT_EQ(reader.read<float>("b").values()[0], 1.0F);
  EXPECT_EQ(reader.read<float>("b").values()[1], -3.0F);
}

template <Scalar T>
void expect_views() {
  const TemporaryFolder folder;
  const auto tensors = some_tensors<T>();
  write_safetensors(folder / "m.safetensors", tensors);
  const SafetensorsReader reader(folder / "m.safetensors");
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(std::ranges::equal(reader.view<T>(name), tensor.values())) << name;
  EXPECT_EQ(reader.view<T>("weight").data(), reader.view<T>("weight").data());
}

TEST(Safetensors, ViewsShowTheNumbersInTheFile) {
  expect_views<float>();
  expect_views<double>();
}

TEST(Safetensors, ViewsAreRefusedOfAnotherDtypeAndWhereNumbersAreNotAligned) {
  const TemporaryFolder folder;
  std::string header = R"({"a":)" + entry("[1]", 0, 4) + R"(,"h":)" + entry("[1]", 4, 6, "F16") + "}";
  while (header.size() % 8 != 0) header += ' ';
  const SafetensorsReader aligned(folder.file("aligned", file_of(header, 6)));
  EXPECT_EQ(aligned.view<float>("a")[0], 0.0F);
  EXPECT_TRUE(
      says(message_of([&] { aligned.view<double>("a"); }), R"("a" is of F32: a view of F64 needs that)"));
  EXPECT_TRUE(says(message_of([&] { aligned.view<float>("h"); }), R"("h" is of F16)"));
  EXPECT_TRUE(says(message_of([&] { aligned.view<float>("x"); }), "there is no tensor"));
  const SafetensorsReader odd(folder.file("odd", file_of(header + ' ', 6)));
  EXPECT_EQ(odd.read<float>("a").values()[0], 0.0F);
  EXPECT_TRUE(says(message_of([&] { odd.view<float>("a"); }), "it can only be read"));
}

TEST(Safetensors, WeightsAreStoredAsAskedFor) {
  const TemporaryFolder folder;
  const auto tensors = some_tensors<double>();
  for (const Dtype dtype : {Dtype::F32, Dtype::F16, Dtype::BF16}) {
    write_safetensors(folder / "m", tensors, {}, dtype);
    const SafetensorsReader reader(folder / "m");
    const double step = dtype == Dtype::F32 ? 0x1p-24 : dtype == Dtype::F16 ? 0x1p-11 : 0x1p-8;
    for (const auto& [name, tensor] : tensors) {
      EXPECT_EQ(reader.tensor(name).dtype, dtype);
      const auto read = reader.read<double>(name);
      for (std::size_t i = 0; i < read.values().size(); ++i)
        EXPECT_NEAR(read.values()[i], tensor.values()[i], std::abs(tensor.values()[i]) * step + 0x1p-25);
    }
  }
  EXPECT_THROW(write_safetensors(folder / "n", tensors, {}, Dtype::I32), ConfigError);
  EXPECT_THROW(write_safetensors(folder / "n", some_tensors<float>(), {}, Dtype::F64), ConfigError);
  tensors[0].tensor.values()[0] = 1e6;
  EXPECT_THROW(write_safetensors(folder / "n", tensors, {}, Dtype::F16), ConfigError);
  EXPECT_FALSE(std::filesystem::exists(folder / "n"));
}

TEST(Safetensors, IntegersReadAsIntegersOnly) {
  const TemporaryFolder folder;
  const std::string header =
      R"({"i":)" + entry("[2]", 0, 16, "I64") + R"(,"mask":)" + entry("[1,1]", 16, 17, "BOOL") + "}";
  std::string bytes = file_of(header, 17);
  const std::array<std::int64_t, 2> values{-5, 1LL << 31};
  std::memcpy(bytes.data() + bytes.size() - 17, values.data(), 16);
  const SafetensorsReader reader(folder.file("m", bytes));
  EXPECT_THROW(reader.read<float>("i"), FormatError);
  EXPECT_THROW(reader.read_integers("i"), FormatError);  // 2^31 does not fit
  EXPECT_EQ(reader.read_integers("mask").shape(), (Shape{1, 1}));
}

TEST(Safetensors, ReadingNamesWhatIsMissingOrOfAnotherShape) {
  const TemporaryFolder folder;
  write_safetensors(folder / "m", some_tensors<float>());
  const SafetensorsReader reader(folder / "m");
  EXPECT_THROW(reader.read<float>("absent"), FormatError);
  try {
    reader.read_into("weight", Tensor<float>::zeros({7, 3}));
    FAIL() << "another shape was accepted";
  } catch (const FormatError& error) {
    EXPECT_PRED2(says, error.what(), "\"weight\" is [3, 7]: [7, 3] is needed");
  }
}

TEST(Safetensors, AValidHeaderWithPaddingAndZeroSizeTensorsIsAccepted) {
  EXPECT_EQ(refusal("{}"), "");
  EXPECT_EQ(refusal("{}      "), "");
  EXPECT_EQ(refusal(R"({"a":)" + entry("[2]", 0, 8) + "}  ", 8), "");
  // Zero-size tensors may share an offset, whatever order the header lists them in.
  EXPECT_EQ(refusal(R"({"a":)" + entry("[2]", 0, 8) + R"(,"z":)" + entry("[0]", 0, 0) + R"(,"y":)" +
                        entry("[3,0]", 0, 0) + R"(,"x":)" + entry("[0]", 8, 8) + "}",
                    8),
            "");
}

TEST(Safetensors, AShapeWhoseProductOverflowsIsRefused) {
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[4194305,4194305,211106198978564]", 0, 16) + "}", 16),
               "more than 2^64 bytes");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[4611686018427387904,4,0]", 0, 0) + "}"),
               "more than 2^64 bytes");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[9223372036854775808]", 0, 0) + "}"), "over 2^63 - 1");
}

TEST(Safetensors, DuplicateKeysAreRefusedAtEveryLevel) {
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[1]", 0, 4) + R"(,"a":)" + entry("[1]", 4, 8) + "}", 8),
               "\"a\" occurs twice");
  EXPECT_PRED2(says, refusal(R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4),
               "\"dtype\" twice");
  EXPECT_PRED2(says, refusal(R"({"__metadata__":{"k":"1","k":"2"}})"), "\"k\" twice");
  EXPECT_PRED2(says, refusal(R"({"__metadata__":{},"__metadata__":{}})"), "occurs twice");
}

TEST(Safetensors, HolesOverlapsAndWrongSpansAreRefused) {
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[1]", 4, 8) + "}", 8), "begins at byte 4");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[2]", 0, 8) + R"(,"b":)" + entry("[2]", 0, 8) + "}", 8),
               "begins at byte 0");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[2]", 0, 8) + R"(,"z":)" + entry("[0]", 4, 4) + "}", 8),
               "begins at byte 4");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[3]", 0, 8) + "}", 8), "its shape needs 12");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[0]", 8, 0) + "}", 8), "begins at byte 8");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[1]", 0, 4, "F64") + "}", 4), "its shape needs 8");
}

TEST(Safetensors, TruncatedFilesAndTrailingBytesAreRefused) {
  const std::string whole = file_of(R"({"a":)" + entry("[2]", 0, 8) + "}", 8);
  EXPECT_PRED2(says, refusal_of_bytes(whole + "x"), "trailing bytes");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(refusal_of_bytes(whole.substr(0, length)), "") << length << " bytes";
  }
}

TEST(Safetensors, AnOversizedHeaderLengthIsRefused) {
  std::string bytes = file_of("{}", 0);
  for (const std::uint64_t size :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, std::numeric_limits<std::uint64_t>::max() - 7}) {
    std::memcpy(bytes.data(), &size, 8);
    EXPECT_PRED2(says, refusal_of_bytes(bytes), "claims a header of " + std::to_string(size));
  }
}

TEST(Safetensors, NumbersThatAreNotNaturalAreRefused) {
  for (const std::string shape : {"[-1]", "[-0]", "[1.0]", "[1e0]", "[18446744073709551616]", "[true]",
                                  "[null]", "[\"1\"]", "[[1]]", "[{}]", "1", "{}", "null"}) {
    EXPECT_NE(refusal(R"({"a":)" + entry(shape, 0, 4) + "}", 4), "") << shape;
  }
  for (const std::string offsets : {"[]", "[0]", "[0,4,4]", "[0,-4]", "[0,4.0]", "4", "\"0,4\""}) {
    EXPECT_NE(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":)" + offsets + "}}", 4), "")
        << offsets;
  }
}

TEST(Safetensors, WhatTheFormatDoesNotProvideForIsRefused) {
  const std::string good = entry("[1]", 0, 4);
  EXPECT_PRED2(says, refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":"x"}})", 4),
               "unknown field \"extra\"");
  EXPECT_PRED2(says, refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "lacks");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[1]", 0, 1, "F8_E4M3") + "}", 1), "F8_E4M3");
  EXPECT_PRED2(says, refusal(R"({"a":[1]})"), "not an object");
  EXPECT_PRED2(says, refusal(R"({"__metadata__":{"k":1}})"), "a number");
  EXPECT_PRED2(says, refusal(R"({"__metadata__":{"k":{"deeper":{}}}})"), "an object");
  EXPECT_PRED2(says, refusal(R"({"__metadata__":["k"]})"), "not an object");
  EXPECT_PRED2(says, refusal(R"({"a":)" + entry("[1,1,1,1,1,1,1,1,1]", 0, 4) + "}", 4), "rank over 8");
  EXPECT_EQ(refusal(R"({"a":)" + entry("[1,1,1,1,1,1,1,1]", 0, 4) + "}", 4), "");
  EXPECT_PRED2(says, refusal(R"({")" + std::string(1025, 'n') + R"(":)" + good + "}", 4), "1025 bytes");
  EXPECT_PRED2(says, refusal(R"({"a\u0000b":)" + good + "}", 4), "control characters");
  EXPECT_PRED2(says, refusal(R"({"a\n":)" + good + "}", 4), "control characters");
}

TEST(Safetensors, WhatIsNotOneJsonObjectWithSpacesAfterItIsRefused) {
  const std::string good = R"({"a":)" + entry("[1]", 0, 4) + "}";
  ASSERT_EQ(refusal(good, 4), "");
  for (const std::string& header :
       {std::string(), std::string("[]"), std::string("   "), " " + good, good + "\n", good + "x",
        good + good, good + std::string(1, '\0'), good + std::string(1, '\0') + "}", "\xEF\xBB\xBF" + good,
        good.substr(0, good.size() - 1), std::string("{\"a\xff\":") + entry("[1]", 0, 4) + "}",
        "{/* comment */}" + std::string(), std::string("{\"a\":") + std::string(100'000, '[') + "}"}) {
    EXPECT_NE(refusal(header, 4), "") << header.substr(0, 80);
  }
}

TEST(Safetensors, AHundredThousandEntriesAreReadAndAMillionAndOneRefused) {
  const auto header_of = [](int count) {
    std::string header = "{";
    for (int i = 0; i < count; ++i) {
      header +=
          (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return header + "}";
  };
  EXPECT_EQ(refusal(header_of(100'000)), "");
  EXPECT_PRED2(says, refusal(header_of(1'000'001)), "more than 1000000 tensors");
}

TEST(Safetensors, WhateverRandomDamageLeavesIsRefusedOrConsistent) {
  const std::string whole =
      R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
      R"("y":{"dtype":"F16","shape":[0],"data_offsets":[8,8]}}  )";
  const std::vector<std::string> pieces{"{", "}", "[",  "]",   ",",    ":",      "\"",
                                        "0", "9", "-1", "1e3", "null", "\\u0000"};
  Rng rng(4);
  const auto draw = [&](std::size_t bound) {
    return static_cast<std::size_t>(rng.below(static_cast<Index>(bound)));
  };
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string header = whole;
    for (std::size_t changes = 1 + draw(3); changes > 0; --changes) {
      const std::size_t at = draw(header.size());
      switch (draw(4)) {
        case 0:
          header.insert(at, pieces[draw(pieces.size())]);
          break;
        case 1:
          header.erase(at, 1 + draw(5));
          break;
        case 2:
          header[at] = static_cast<char>(draw(256));
          break;
        default:
          header.insert(at, header.substr(draw(header.size()), draw(20)));
      }
    }
    try {
      std::uint64_t end = 0;
      for (const auto& tensor : parse_safetensors_header("damaged", header, 8).tensors) {
        ASSERT_EQ(tensor.begin, end) << header;
        end = tensor.end;
        ASSERT_EQ(static_cast<std::uint64_t>(tensor.size()) * info(tensor.dtype).bytes, end - tensor.begin)
            << header;
      }
      ASSERT_EQ(end, 8U) << header;
      ++accepted;
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(accepted, 100) << "changed names and metadata are harmless";
  EXPECT_LT(accepted, 10'000);
}

TEST(Safetensors, AMissingFileOrAFolderIsAnIoError) {
  const TemporaryFolder folder;
  EXPECT_THROW(SafetensorsReader(folder / "absent"), IoError);
  EXPECT_THROW(SafetensorsReader(folder.path()), IoError);
}

}  // namespace
}  // namespace exfusion::io
