#include <gtest/gtest.h>

#include <exfusion/data/mnist.hpp>

#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift : {24U, 16U, 8U, 0U})
    bytes += static_cast<char>(static_cast<unsigned char>(value >> shift));
  return bytes;
}

std::string idx_images(std::uint32_t count, std::uint32_t height = 3, std::uint32_t width = 2) {
  std::string content = big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width);
  for (std::uint32_t i = 0; i < count * height * width; ++i) content += static_cast<char>(i % 100);
  return content;
}

std::string idx_labels(std::uint32_t count) {
  std::string content = big_endian(0x801) + big_endian(count);
  for (std::uint32_t i = 0; i < count; ++i) content += static_cast<char>(i % 10);
  return content;
}

std::string gzip(const std::string& content) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::string input = content, output(deflateBound(&stream, static_cast<uLong>(content.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(output.data());
  stream.avail_out = static_cast<uInt>(output.size());
  const int status = deflate(&stream, Z_FINISH);
  output.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::logic_error("the compressed data did not fit");
  return output;
}

std::string error_of(const TemporaryFolder& folder, const std::string& name, const std::string& content,
                     int rank) {
  const auto path = folder.write(name, content);
  return message_of<FormatError>([&] { read_idx(path, rank); });
}

TEST(Idx, ReadsPlainAndGzippedFilesAlike) {
  const TemporaryFolder folder;
  const auto plain = read_idx(folder.write("images", idx_images(4)), 3);
  const auto zipped = read_idx(folder.write("images.gz", gzip(idx_images(4))), 3);
  EXPECT_EQ(plain.sizes, (std::vector<Index>{4, 3, 2}));
  ASSERT_EQ(plain.values.size(), 24U);
  EXPECT_EQ(plain.values[23], 23);
  EXPECT_EQ(plain.sizes, zipped.sizes);
  EXPECT_EQ(plain.values, zipped.values);
}

TEST(Idx, RefusesFilesCutAtAnyByteOrWithBytesTooMany) {
  const TemporaryFolder folder;
  for (const bool zip : {false, true}) {
    const std::string whole = zip ? gzip(idx_images(9, 5, 4)) : idx_images(9, 5, 4);
    const std::string name = zip ? "images.gz" : "images";
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto path = folder.write(name, std::string_view(whole).substr(0, size));
      ASSERT_THROW(read_idx(path, 3), FormatError) << size << " of " << whole.size() << " bytes";
    }
    EXPECT_NO_THROW(read_idx(folder.write(name, whole), 3));
    EXPECT_THROW(read_idx(folder.write(name, whole + "x"), 3), FormatError);
  }
  EXPECT_CONTAINS(error_of(folder, "images", idx_images(2) + "x", 3),
                  "images] holds 13 bytes after its header, which announces 12");
  EXPECT_CONTAINS(error_of(folder, "images.gz", gzip(idx_images(2) + "x"), 3),
                  "holds more than its header says");
  EXPECT_CONTAINS(error_of(folder, "images.gz", gzip(idx_images(2)) + "x", 3),
                  "has 1 bytes after the compressed");
}

// Only remarks in the gzip header and the padding of the last compressed byte may change unnoticed.
TEST(Idx, NeverReturnsOtherImagesFromADamagedGzippedFile) {
  const TemporaryFolder folder;
  const std::string whole = gzip(idx_images(9, 5, 4));
  const auto expected = read_idx(folder.write("images.gz", whole), 3);
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const auto path = folder.write("images.gz", damaged);
    try {
      EXPECT_EQ(read_idx(path, 3).values, expected.values) << "bit " << bit;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 8 * whole.size() - 80 - 8);
}

TEST(Idx, NamesWhatIsWrongWithAHeader) {
  const TemporaryFolder folder;
  EXPECT_CONTAINS(error_of(folder, "labels", idx_images(2), 1),
                  "begins with 0x803: bytes with 1 axis begin with 0x801");
  EXPECT_CONTAINS(error_of(folder, "floats", big_endian(0xD03) + std::string(40, 'x'), 3),
                  "begins with 0xd03");
  EXPECT_CONTAINS(error_of(folder, "empty", "", 3), "ends inside its header");
  EXPECT_CONTAINS(error_of(folder, "none", idx_images(0), 3), "axis 0 has the size 0");
  EXPECT_CONTAINS(error_of(folder, "none", idx_images(2, 0, 3), 3), "axis 1 has the size 0");
  const std::string huge =
      big_endian(0x803) + big_endian(0xFFFFFFFF) + big_endian(0xFFFFFFFF) + big_endian(0xFFFFFFFF);
  EXPECT_CONTAINS(error_of(folder, "huge", huge, 3),
                  "too short for its header: axis 0 has the size 4294967295");
  // 2^16 * 2^16 * 2^32 wraps to nothing in 64 bits.
  const std::string wrapping =
      big_endian(0x803) + big_endian(0x10000) + big_endian(0x10000) + big_endian(0x80000000);
  EXPECT_CONTAINS(error_of(folder, "wrapping", wrapping + std::string(70'000, 'x'), 3),
                  "axis 1 has the size 65536");
  EXPECT_THROW(read_idx(folder.path() / "missing", 3), IoError);
  EXPECT_THROW(read_idx(folder.path(), 3), IoError);
}

TEST(Idx, StopsUnpackingWhereTheHeaderSays) {
  const TemporaryFolder folder;
  const std::string bomb = gzip(idx_images(2) + std::string(10'000'000, '\0'));
  EXPECT_LT(bomb.size(), 100'000U);
  EXPECT_CONTAINS(error_of(folder, "bomb.gz", bomb, 3), "holds more than its header says");
  const std::string boast = gzip(big_endian(0x803) + big_endian(60'000) + big_endian(28) + big_endian(28));
  EXPECT_CONTAINS(error_of(folder, "boast.gz", boast, 3), "too short");
}

TEST(Mnist, ReadsTrainAndTestFilesUnderEitherName) {
  const TemporaryFolder folder;
  folder.write("train-images.idx3-ubyte", idx_images(7));
  folder.write("train-labels-idx1-ubyte.gz", gzip(idx_labels(7)));
  folder.write("t10k-images-idx3-ubyte.gz", gzip(idx_images(3)));
  folder.write("t10k-labels.idx1-ubyte", idx_labels(3));
  const auto split = load_mnist(folder.path());
  EXPECT_EQ(split.train.count(), 7);
  EXPECT_EQ(split.test.count(), 3);
  EXPECT_EQ(split.train.channels, 1);
  EXPECT_EQ(split.train.height, 3);
  EXPECT_EQ(split.train.width, 2);
  EXPECT_EQ(split.train.image(6)[5], 41);
  EXPECT_EQ(split.test.labels, (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(split.test.class_names[9], "9");
  EXPECT_FALSE(split.augmentation.horizontal_flip);
  EXPECT_EQ(split.description, "MNIST: 7 training and 3 test images");
}

TEST(Mnist, SplitsT10kWhenItIsAlone) {
  const TemporaryFolder folder;
  folder.write("t10k-images-idx3-ubyte", idx_images(12));
  folder.write("t10k-labels-idx1-ubyte", idx_labels(12));
  const auto split = load_mnist(folder.path());
  EXPECT_EQ(split.train.labels, (std::vector<std::int32_t>{0, 1, 2, 3, 5, 6, 7, 8, 0, 1}));
  EXPECT_EQ(split.test.labels, (std::vector<std::int32_t>{4, 9}));
  EXPECT_EQ(split.test.image(1)[0], 54);
  EXPECT_CONTAINS(split.description, "both from the t10k files");
  folder.write("t10k-images-idx3-ubyte", idx_images(4));
  folder.write("t10k-labels-idx1-ubyte", idx_labels(4));
  EXPECT_CONTAINS(message_of<FormatError>([&] { load_mnist(folder.path()); }), "too few to split");
}

TEST(Mnist, SaysWhichFilesAreMissingOrDisagree) {
  const TemporaryFolder folder;
  const auto load = [&] { load_mnist(folder.path()); };
  EXPECT_CONTAINS(message_of<IoError>([] { load_mnist("/no/such/folder"); }),
                  "/no/such/folder] cannot be opened: No such file or directory");
  EXPECT_CONTAINS(message_of<IoError>([&] { load_mnist(folder.write("file", "")); }),
                  "file] is not a folder");
  EXPECT_THROW(load_mnist(std::string(5000, 'x')), IoError);
  EXPECT_CONTAINS(message_of<IoError>(load), "has no t10k-images-idx3-ubyte");
  folder.write("t10k-images-idx3-ubyte", idx_images(6));
  EXPECT_CONTAINS(message_of<IoError>(load), "has no t10k-labels-idx1-ubyte");
  folder.write("t10k-labels-idx1-ubyte", idx_labels(5));
  EXPECT_CONTAINS(message_of<FormatError>(load),
                  "t10k-images-idx3-ubyte has 6 images, but t10k-labels-idx1-ubyte has 5 labels");
  folder.write("t10k-labels-idx1-ubyte",
               big_endian(0x801) + big_endian(6) + std::string("\0\1\2\3\4\012", 6));
  EXPECT_CONTAINS(message_of<FormatError>(load), "label 5 is 10: labels are 0 to 9");
  folder.write("t10k-labels-idx1-ubyte", idx_labels(6));
  folder.write("train-labels-idx1-ubyte", idx_labels(6));
  EXPECT_CONTAINS(message_of<IoError>(load), "has no train-images-idx3-ubyte");
  folder.write("train-images-idx3-ubyte", idx_images(6, 2, 3));
  EXPECT_CONTAINS(message_of<FormatError>(load), "training images are 2 x 3, its test images 3 x 2");
}

TEST(Mnist, ReadsTheRealFiles) {
  const auto folder = real_data("mnist10k");
  if (!folder) GTEST_SKIP() << "mnist10k is not there: set EXFUSION_DATA_DIR";
  const auto split = load_mnist(*folder);
  EXPECT_EQ(split.train.count(), 8000);
  EXPECT_EQ(split.test.count(), 2000);
  EXPECT_EQ(split.train.height, 28);
  EXPECT_EQ(split.train.labels[0], 7) << "the first digit of t10k";
  const auto normalisation = Normalisation::of(split.train);
  EXPECT_NEAR(normalisation.mean[0], 0.1307, 0.005);
  EXPECT_NEAR(normalisation.std[0], 0.3081, 0.005);
}

}  // namespace
}  // namespace exfusion::data
