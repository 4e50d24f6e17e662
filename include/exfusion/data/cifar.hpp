#pragma once

#include <array>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <exfusion/core/error.hpp>
#include <exfusion/core/file.hpp>
#include <exfusion/data/folder.hpp>
#include <exfusion/data/image.hpp>

namespace exfusion::data {

namespace detail {

inline constexpr std::size_t cifar_pixels = std::size_t{3} * 32 * 32;
inline constexpr std::size_t cifar_record = 1 + cifar_pixels;

/// Records in a file of CIFAR-10's binary version. Throws FormatError when it has none or a part of one.
inline std::size_t count_cifar_records(const std::filesystem::path& path) {
  const std::uint64_t size = exfusion::detail::FileDescriptor(path, O_RDONLY).size();
  if (size == 0) throw FormatError(path.string(), "is empty");
  if (size % cifar_record != 0) {
    throw FormatError(path.string(), "holds ", size, " bytes: ", size % cifar_record, " more than ",
                      size / cifar_record, " records of ", cifar_record, " bytes");
  }
  return static_cast<std::size_t>(size / cifar_record);
}

/// Appends the records of `path` to `images`.
inline void read_cifar_file(const std::filesystem::path& path, std::size_t records, ImageDataset& images) {
  const exfusion::detail::FileDescriptor file(path, O_RDONLY);
  std::array<std::uint8_t, cifar_record> record;
  for (std::size_t i = 0; i < records; ++i) {
    file.read_at(i * cifar_record, std::as_writable_bytes(std::span(record)));
    if (record[0] > 9) {
      throw FormatError(path.string(), "record ", i, " has the label ", int{record[0]},
                        ": labels are 0 to 9");
    }
    images.labels.push_back(record[0]);
    images.pixels.insert(images.pixels.end(), record.begin() + 1, record.end());
  }
}

inline ImageDataset read_cifar_files(const std::vector<std::filesystem::path>& paths) {
  ImageDataset images{3, 32, 32, {}, {}, {}};
  images.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                        "dog",      "frog",       "horse", "ship", "truck"};
  std::vector<std::size_t> records;
  for (const auto& path : paths) records.push_back(count_cifar_records(path));
  std::size_t total = 0;
  for (std::size_t count : records) total += count;
  images.labels.reserve(total);
  images.pixels.reserve(total * cifar_pixels);
  for (std::size_t i = 0; i < paths.size(); ++i) read_cifar_file(paths[i], records[i], images);
  return images;
}

}  // namespace detail

/// CIFAR-10, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): images [3, 32, 32]; training from
/// those of data_batch_1.bin to data_batch_5.bin that are there, test from test_batch.bin. Throws IoError
/// when the folder or one of the parts is missing, FormatError when a file is empty, not a whole number of
/// records, or has a label over 9.
inline ImageSplit load_cifar10(const std::filesystem::path& folder) {
  detail::require_folder(folder);
  std::vector<std::filesystem::path> batches;
  for (int i = 1; i <= 5; ++i) {
    const auto path = folder / ("data_batch_" + std::to_string(i) + ".bin");
    if (detail::is_there(path)) batches.push_back(path);
  }
  if (batches.empty()) throw IoError(folder.string(), "has no data_batch_1.bin to data_batch_5.bin");
  const auto test = folder / "test_batch.bin";
  if (!detail::is_there(test)) throw IoError(folder.string(), "has no test_batch.bin");
  ImageSplit split{.train = detail::read_cifar_files(batches),
                   .test = detail::read_cifar_files({test}),
                   .augmentation = {.crop_padding = 4, .horizontal_flip = true},
                   .description = {}};
  std::ostringstream text;
  text << "CIFAR-10: " << split.train.count() << " training images from " << batches.size() << " of 5 files, "
       << split.test.count() << " test images";
  split.description = text.str();
  return split;
}

}  // namespace exfusion::data
