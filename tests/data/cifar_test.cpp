#include <gtest/gtest.h>

#include <exfusion/data/cifar.hpp>
#include <exfusion/data/image_loader.hpp>

#include "data/data_support.hpp"

namespace exfusion::data {
namespace {

// Records labelled first, first + 1, ...; every pixel of a record repeats the label plus its plane * 50.
std::string records(int count, int first = 0) {
  std::string content;
  for (int i = first; i < first + count; ++i) {
    content += static_cast<char>(i);
    for (int plane = 0; plane < 3; ++plane) content.append(1024, static_cast<char>(i + plane * 50));
  }
  return content;
}

TEST(Cifar10, ReadsTheBatchesThatAreThere) {
  const TemporaryFolder folder;
  folder.write("data_batch_1.bin", records(2));
  folder.write("data_batch_4.bin", records(3, 5));
  folder.write("test_batch.bin", records(1, 9));
  const auto split = load_cifar10(folder.path());
  EXPECT_EQ(split.train.labels, (std::vector<std::int32_t>{0, 1, 5, 6, 7}));
  EXPECT_EQ(split.test.labels, (std::vector<std::int32_t>{9}));
  EXPECT_EQ(split.train.image_size(), 3072);
  EXPECT_EQ(split.train.image(3)[1023], 6);
  EXPECT_EQ(split.train.image(3)[1024], 56);
  EXPECT_EQ(split.train.class_names[6], "frog");
  EXPECT_EQ(split.train.classes(), 10);
  EXPECT_TRUE(split.augmentation.horizontal_flip);
  EXPECT_EQ(split.description, "CIFAR-10: 5 training images from 2 of 5 files, 1 test images");
}

TEST(Cifar10, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  const auto load = [&] { load_cifar10(folder.path()); };
  EXPECT_CONTAINS(message_of<IoError>([] { load_cifar10("/no/such/folder"); }),
                  "/no/such/folder] cannot be opened: No such file or directory");
  EXPECT_CONTAINS(message_of<IoError>([&] { load_cifar10(folder.write("file", "")); }),
                  "file] is not a folder");
  EXPECT_THROW(load_cifar10(std::string(5000, 'x')), IoError);
  EXPECT_CONTAINS(message_of<IoError>(load), "has no data_batch_1.bin");
  folder.write("data_batch_2.bin", records(1));
  EXPECT_CONTAINS(message_of<IoError>(load), "has no test_batch.bin");
  folder.write("test_batch.bin", "");
  EXPECT_CONTAINS(message_of<FormatError>(load), "test_batch.bin] is empty");
  std::filesystem::remove(folder.path() / "test_batch.bin");
  std::filesystem::create_directory(folder.path() / "test_batch.bin");
  EXPECT_CONTAINS(message_of<IoError>(load), "not a regular file");
}

TEST(Cifar10, RefusesFilesOfAnyOtherLengthAndLabelsOverNine) {
  const TemporaryFolder folder;
  folder.write("test_batch.bin", records(1));
  const std::string whole = records(2);
  const auto path = folder.write("data_batch_1.bin", whole);
  for (std::size_t size = whole.size(); size-- > 0;) {
    std::filesystem::resize_file(path, size);
    if (size != 3073) {
      ASSERT_THROW(load_cifar10(folder.path()), FormatError) << size << " bytes";
    }
  }
  folder.write("data_batch_1.bin", whole + "x");
  EXPECT_CONTAINS(message_of<FormatError>([&] { load_cifar10(folder.path()); }),
                  "holds 6147 bytes: 1 more than 2 records of 3073 bytes");
  folder.write("data_batch_1.bin", records(3, 8));
  EXPECT_CONTAINS(message_of<FormatError>([&] { load_cifar10(folder.path()); }),
                  "record 2 has the label 10: labels are 0 to 9");
}

TEST(Cifar10, ReadsTheRealFiles) {
  const auto folder = real_data("cifar10");
  if (!folder) GTEST_SKIP() << "cifar10 is not there: set EXFUSION_DATA_DIR";
  const auto split = load_cifar10(*folder);
  EXPECT_EQ(split.train.count() % 10'000, 0);
  EXPECT_EQ(split.test.count(), 10'000);
  const auto normalisation = Normalisation::of(split.train);
  const double mean[] = {0.4914, 0.4822, 0.4465}, std[] = {0.2470, 0.2435, 0.2616};  // of all five batches
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(normalisation.mean[c], mean[c], 0.01);
    EXPECT_NEAR(normalisation.std[c], std[c], 0.01);
  }
  std::array<int, 10> counts{};
  for (std::int32_t label : split.test.labels) ++counts[static_cast<std::size_t>(label)];
  for (int count : counts) EXPECT_EQ(count, 1000);
}

}  // namespace
}  // namespace exfusion::data
