#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <exfusion/io/json_config.hpp>
#include <exfusion/io/safetensors_reader.hpp>

namespace exfusion::io {

/// The tensors of a model's folder: those of model.safetensors, or of the files among which
/// model.safetensors.index.json shares them out ("weight_map": {tensor: file}).
class SafetensorsFolder {
 public:
  /// Throws IoError when a file cannot be read, FormatError when one is damaged or the index and the files do
  /// not agree.
  explicit SafetensorsFolder(const std::filesystem::path& folder) {
    const auto index = folder / "model.safetensors.index.json";
    std::error_code error;
    const auto single = folder / "model.safetensors";
    if (std::filesystem::exists(single, error) || !std::filesystem::exists(index, error)) {
      path_ = single.string();
      add(single);
      for (const TensorInfo& tensor : readers_.front()->tensors())
        owners_[tensor.name] = readers_.front().get();
    } else {
      path_ = index.string();
      read_index(folder, JsonConfig(index));
    }
  }

  /// What to name in errors: the file or the index.
  const std::string& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, owner] : owners_) all.push_back(name);
    return all;
  }
  bool contains(const std::string& name) const { return owners_.contains(name); }

  /// The file that holds a tensor. Throws FormatError when there is no tensor of that name.
  const SafetensorsReader& reader(const std::string& name) const {
    const auto found = owners_.find(name);
    if (found == owners_.end()) throw FormatError(path_, "there is no tensor ", detail::printable(name));
    return *found->second;
  }

  Shape shape(const std::string& name) const { return reader(name).shape(name); }

 private:
  const SafetensorsReader& add(const std::filesystem::path& path) {
    readers_.push_back(std::make_unique<SafetensorsReader>(path));
    return *readers_.back();
  }

  void read_index(const std::filesystem::path& folder, const JsonConfig& index) {
    const auto map = index["weight_map"];
    if (!map.is_object() || map.empty()) throw FormatError(path_, "weight_map is missing or empty");
    std::map<std::string, const SafetensorsReader*> files;
    for (const auto& [name, file] : map.items()) {
      const std::string text = file.is_string() ? file.get<std::string>() : std::string();
      // Only files beside the index: a name is no way to other places.
      if (text.empty() || text == "." || text == ".." || text.find_first_of("/\\") != std::string::npos)
        throw FormatError(path_, "puts ", detail::printable(name), " into ", file.dump(),
                          ", which is no file's name");
      if (!files.contains(text)) files[text] = &add(folder / text);
      if (!files[text]->contains(name))
        throw FormatError(files[text]->path(), "there is no tensor ", detail::printable(name), ", which ",
                          path_, " promises");
      owners_[name] = files[text];
    }
    for (const auto& [text, reader] : files) {
      for (const TensorInfo& tensor : reader->tensors()) {
        const auto owner = owners_.find(tensor.name);
        if (owner == owners_.end() || owner->second != reader)
          throw FormatError(reader->path(), "has ", detail::printable(tensor.name), ", of which ", path_,
                            " does not know");
      }
    }
  }

  std::string path_;
  std::vector<std::unique_ptr<SafetensorsReader>> readers_;
  std::map<std::string, const SafetensorsReader*> owners_;
};

}  // namespace exfusion::io
