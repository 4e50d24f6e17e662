#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <exfusion/core/parallel.hpp>
#include <exfusion/data/folder.hpp>
#include <exfusion/data/image.hpp>
#include <exfusion/io/checkpoint.hpp>

#include "picture_file.hpp"

// A user's own pictures: a folder for each class, as torchvision's ImageFolder takes them.

namespace exfusion::examples {

namespace detail {

namespace fs = std::filesystem;

inline bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// What is in a folder and can be seen, sorted by name.
inline std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!is_hidden(entry.path())) entries.push_back(entry.path());
  }
  std::ranges::sort(entries);
  return entries;
}

/// Throws FormatError for a file that by its name is no picture: what it is for is better asked than guessed.
inline void require_picture_name(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (ending != ".png" && ending != ".jpg" && ending != ".jpeg")
    throw FormatError(path.string(), "is no .png, .jpg or .jpeg file: only these may stand among pictures");
}

struct LabelledFile {
  fs::path path;
  std::int32_t label = 0;
};

/// The pictures below `folder`, one folder for each of `classes`. Throws FormatError for a class that is not
/// among them, IoError where something cannot be read.
inline std::vector<LabelledFile> list_pictures(const fs::path& folder,
                                               const std::vector<std::string>& classes) {
  std::vector<LabelledFile> files;
  for (const fs::path& of_class : sorted_entries(folder)) {
    const auto place = std::ranges::find(classes, of_class.filename().string());
    if (!fs::is_directory(of_class))
      throw FormatError(of_class.string(), "stands among the folders of classes");
    if (place == classes.end())
      throw FormatError(of_class.string(), "is a class that the training pictures lack");
    std::vector<fs::path> found;
    constexpr auto with_links = fs::directory_options::follow_directory_symlink;
    for (auto entry = fs::recursive_directory_iterator(of_class, with_links); entry != fs::end(entry);
         ++entry) {
      if (is_hidden(entry->path())) entry.disable_recursion_pending();
      if (is_hidden(entry->path()) || entry->is_directory()) continue;
      require_picture_name(entry->path());
      found.push_back(entry->path());
    }
    std::ranges::sort(found);
    for (fs::path& path : found)
      files.push_back({std::move(path), static_cast<std::int32_t>(place - classes.begin())});
  }
  return files;
}

/// Reads pictures, several at once, into images [3, size, size].
inline data::ImageDataset read_pictures(const std::vector<LabelledFile>& files,
                                        const std::vector<std::string>& classes, Index size) {
  data::ImageDataset images{3, size, size, {}, {}, classes};
  images.pixels.resize(files.size() * static_cast<std::size_t>(images.image_size()));
  std::vector<std::exception_ptr> problems(files.size());
  parallel_for(std::ssize(files), 1, [&](Index begin, Index) {
    const auto i = static_cast<std::size_t>(begin);
    try {
      const fs::path& path = files[i].path;
      const data::Picture square = data::centre_square(decode_picture(read_file(path), path.string()), size);
      std::uint8_t* to = images.pixels.data() + begin * images.image_size();
      for (Index channel = 0; channel < 3; ++channel) {
        for (Index pixel = 0; pixel < size * size; ++pixel)
          to[channel * size * size + pixel] = square.pixels[static_cast<std::size_t>(3 * pixel + channel)];
      }
    } catch (...) {
      problems[i] = std::current_exception();
    }
  });
  for (const std::exception_ptr& problem : problems) {
    if (problem) std::rethrow_exception(problem);
  }
  for (const LabelledFile& file : files) images.labels.push_back(file.label);
  return images;
}

inline std::vector<std::string> class_names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (fs::is_directory(entry)) names.push_back(entry.filename().string());
  }
  if (names.empty()) throw FormatError(folder.string(), "has no folders: one for each class is needed");
  return names;
}

/// Takes about a tenth of the files out, at least one, chosen by their names alone: a new file moves hardly
/// any other.
inline std::vector<LabelledFile> take_tenth(std::vector<LabelledFile>& files, const fs::path& folder) {
  const auto draw = [&](const LabelledFile& file) {
    const std::string name = file.path.lexically_relative(folder).generic_string();
    return io::xxh3(std::as_bytes(std::span(name)));
  };
  constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t smallest = largest;
  for (const LabelledFile& file : files) smallest = std::min(smallest, draw(file));
  const std::uint64_t limit = std::max(largest / 10, smallest);
  const auto taken = std::stable_partition(files.begin(), files.end(),
                                           [&](const LabelledFile& file) { return draw(file) > limit; });
  std::vector<LabelledFile> tenth(taken, files.end());
  files.erase(taken, files.end());
  return tenth;
}

struct PictureFiles {
  std::vector<std::string> classes;
  std::vector<LabelledFile> train, test;
};

/// Finds the pictures of both parts.
inline PictureFiles find_pictures(const fs::path& folder) {
  const auto is_there = [&](const char* part) { return fs::is_directory(folder / part); };
  const char* test = is_there("val") ? "val" : "test";
  const bool has_parts = is_there("train") && is_there(test);
  if (is_there("train") && !has_parts &&
      std::ranges::any_of(sorted_entries(folder / "train"),
                          [](const fs::path& entry) { return fs::is_directory(entry); }))
    throw FormatError(folder.string(), "has a folder train, but neither val nor test beside it");
  const fs::path train_folder = has_parts ? folder / "train" : folder;
  PictureFiles files{.classes = class_names(train_folder), .train = {}, .test = {}};
  files.train = list_pictures(train_folder, files.classes);
  files.test = has_parts ? list_pictures(folder / test, files.classes) : take_tenth(files.train, folder);
  return files;
}

}  // namespace detail

/// PNG and JPEG pictures in a folder for each class, whose names, sorted, are the classes:
/// `folder`/train/CLASS/... for training and `folder`/val/CLASS/... (or test) for validation; or
/// `folder`/CLASS/..., of which about a tenth is kept for validation. Each becomes a square of `size` pixels
/// (`data::centre_square`). Hidden files and folders are passed over,
/// links followed. Throws IoError, FormatError naming the first file
/// that is damaged or no picture, or a part without pictures, ConfigError when the size is not 1 to 4096.
inline data::ImageSplit load_image_folder(const std::filesystem::path& folder, Index size) {
  if (size < 1 || size > 4096) throw ConfigError("--image-size", size, ": it must be 1 to 4096");
  data::detail::require_folder(folder);
  detail::PictureFiles files;
  try {
    files = detail::find_pictures(folder);
  } catch (const std::filesystem::filesystem_error& error) {
    throw IoError(error.path1().string(), "cannot be read: ", error.code().message());
  }
  const auto& [classes, train, test] = files;
  if (train.empty() || test.empty()) {
    throw FormatError(folder.string(), "has ", train.size(), " pictures to train and ", test.size(),
                      " to validate: both are needed");
  }
  data::ImageSplit split{.train = detail::read_pictures(train, classes, size),
                         .test = detail::read_pictures(test, classes, size),
                         .augmentation = {.crop_padding = size / 8, .horizontal_flip = true},
                         .description = {}};
  split.description = folder.string() + ": " + std::to_string(train.size()) + " training images, " +
                      std::to_string(test.size()) + " test images, " + std::to_string(classes.size()) +
                      " classes";
  return split;
}

}  // namespace exfusion::examples
